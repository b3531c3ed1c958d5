"""What a new settings tree changes."""

import pytest

from pointsman.settings import Settings, parse
from pointsman.settings_changes import Changes, changes_between, kept, process_of

A = "{id: a, backend: openai, url: 'http://127.0.0.1:1/v1'}"
B = "{id: b, backend: llama_cpp, source: {file: /tmp/b.gguf}}"


def tree(*models: str, also: str = "") -> Settings:
    return parse("models:\n" + "".join(f"  - {model}\n" for model in models) + also)


def test_nothing_changed_is_said_to_be_nothing() -> None:
    changes = changes_between(tree(A), tree(A))
    assert not changes
    assert str(changes) == "nothing changed"


def test_models_come_and_go() -> None:
    changes = changes_between(tree(A), tree(B))
    assert changes == Changes(added=("b",), removed=("a",))
    assert str(changes) == "models added: b; removed: a"


@pytest.mark.parametrize(
    ("old", "new", "is_replaced"),
    [
        (A, A.replace(":1/", ":2/"), True),
        (A, A.replace("}", ", slots: 3, context_tokens: 4096}"), False),
        (A, A.replace("}", ", api_key_env: KEY}"), True),
        (B, B.replace("b.gguf", "c.gguf"), True),
        (B, B.replace("}}", "}, slots: 3}"), True),
        (B, B.replace("}}", "}, pin: true, ttl_s: 9, quality: {code: 0.5}}"), False),
    ],
)
def test_a_process_is_replaced_only_where_it_depends_on_what_changed(old: str, new: str, is_replaced: bool) -> None:
    name = old[5]
    expected = Changes(replaced=(name,)) if is_replaced else Changes(amended=(name,))
    assert changes_between(tree(old), tree(new)) == expected


def test_a_connection_depends_on_the_time_outs_and_a_child_does_not() -> None:
    other = tree(A, B, also="retry: {idle_timeout_s: 5}")
    assert changes_between(tree(A, B), other) == Changes(replaced=("a",), sections=("retry",))


def test_a_process_that_takes_all_there_is_depends_on_how_much_that_is() -> None:
    models = ("{id: a, backend: vllm, model: a/b}", "{id: b, backend: vllm, model: a/b, gpu_memory_utilization: 0.4}")
    less = tree(*models, also="fleet: {memory_fraction: 0.6}")
    assert changes_between(tree(*models), less) == Changes(replaced=("a",), sections=("fleet",))


def test_what_waits_for_a_restart_is_named_and_keeps_its_value() -> None:
    old = tree(A)
    new = tree(A, also="server: {port: 9, keep_alive_s: 1}\ncache_dir: /tmp/elsewhere\naliases: {x: a}")
    changes = changes_between(old, new)
    assert changes == Changes(sections=("server", "aliases"), at_restart=("server.port", "cache_dir"))
    assert "only after a restart: server.port, cache_dir; server, aliases changed" in str(changes)
    in_force = kept(old, new)
    assert (in_force.server.port, in_force.cache_dir) == (old.server.port, old.cache_dir)
    assert (in_force.server.keep_alive_s, in_force.aliases) == (1, {"x": "a"})


def test_a_process_depends_on_nothing_that_only_the_router_reads() -> None:
    cheap = tree(B.replace("}}", "}, cost_per_mtok: 3}"))
    assert process_of(cheap.models[0], cheap) == process_of(tree(B).models[0], tree(B))
