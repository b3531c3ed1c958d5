"""A GGUF file as a folder of safetensors, for `backend: transformers`: `scripts/checkpoint_of_gguf.py FILE FOLDER`.

Quantised numbers become bfloat16, which takes several times the room and gives no quality back: take the original
weights where they are at hand. Needs `make transformers`, and beside it `pip install gguf accelerate`.
"""

import argparse
from pathlib import Path

import torch
import transformers


def convert(file: Path, folder: Path) -> None:
    """Weights, configuration and tokenizer with its chat template."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.bfloat16,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("file", type=Path, help="a GGUF file")
    parser.add_argument("folder", type=Path, help="where the folder is written")
    arguments = parser.parse_args()
    convert(arguments.file.resolve(), arguments.folder)


if __name__ == "__main__":
    main()
