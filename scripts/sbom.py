"""The bill of materials: every package of a lock, with its hashes and, where it is installed here, its licence.

    python scripts/sbom.py [--lock requirements/local.lock] [--output build/sbom.cdx.json]

CycloneDX 1.6 in JSON, checked against the standard's own schema before it is written. The same lock gives the same
serial number.
"""

import argparse
import sys
import tomllib
import uuid
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts.audit import ROOT, Package, Pin, licence_of, pin_of, requirements_of


def component_of(pin: Pin) -> Component:
    """One package."""
    return Component(
        name=pin.name,
        version=pin.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{pin.name}=={pin.version}",
        purl=PackageURL("pypi", name=pin.name, version=pin.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=content) for content in pin.hashes],
        properties=[Property(name="pointsman:marker", value=pin.marker)] if pin.marker else [],
        licenses=[LicenseFactory().make_from_string(said)] if (said := _licence(pin.name)) else [],
    )


def _licence(name: str) -> str:
    try:
        return licence_of(Package.of(distribution(name)))
    except PackageNotFoundError:
        return ""


def bill_of(lock: str) -> str:
    """The document. Raises ValueError where it is not what the standard asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    root = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=project["name"],
        licenses=[LicenseFactory().make_from_string(project["license"])],
    )
    components = [component_of(pin) for said in requirements_of(lock) if (pin := pin_of(said))]
    bom = Bom(components=components, serial_number=uuid.uuid5(uuid.NAMESPACE_OID, lock))
    bom.metadata.component = root
    bom.register_dependency(root, components)
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"not CycloneDX 1.6: {problem}")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements" / "local.lock")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "sbom.cdx.json")
    args = parser.parse_args()
    text = bill_of(args.lock.read_text(encoding="utf-8"))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(text + "\n", encoding="utf-8")
    print(f"{args.output}: {text.count('purl')} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
