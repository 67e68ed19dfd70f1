"""Pools of model servers: which file lists which model, what fits, and what settings may say."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from modelyard.models.registry.manifest import VersionSize
from modelyard.models.registry.pools.capacity import NoRoom, list_loaded, require_room
from modelyard.models.registry.pools.size import MB, estimate_memory, find_memory, measure_size
from modelyard.models.registry.retention import find_removable
from modelyard.models.registry.roles.placement import KEEP_S, Placement
from modelyard.models.registry.rollout import FILE, Rollout, change_rollout, read_rollout
from modelyard.models.registry.serving_config import name_file, read_left_out
from modelyard.models.registry.serving_set import check_config, prepare_config, refresh_config
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import model_server_config_pb2
from modelyard.models.tfserving.pools import ServingPools, UnknownPool, check_sizes, parse_pools, parse_sizes
from tests.support.fakes import publish
from tests.support.serving_config import MODEL, OTHER, promote, store

__all__ = ["store"]  # a fixture


def list_models(store: Store, pool: str) -> dict[str, list[int]]:
    """The versions of each model that a pool's servers are told to load, as TensorFlow Serving parses its file."""
    text = (store.root / name_file(pool)).read_text()
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    found = parsed.model_config_list.config
    return {entry.name: list(entry.model_version_policy.specific.versions) for entry in found}


def place(now: Rollout, placement: Placement) -> Rollout:
    return now.model_copy(update={"placement": placement})


def arrive(now: Rollout) -> Rollout:
    return place(now, now.placement.begin("gpu"))


def switch(now: Rollout) -> Rollout:
    return now.move(by="t", reason="r")


# --- files ------------------------------------------------------------------------------------------------------------


def test_each_pool_has_a_file_with_its_models_alone(store: Store) -> None:
    """While a model moves it is in both; a minute later in the new one only. The other model is where it was."""
    prepare_config(store, ("gpu",))
    both = {MODEL: [1, 2], OTHER: [1]}
    assert (list_models(store, "default"), list_models(store, "gpu")) == (both, {})
    change_rollout(store, MODEL, arrive)
    assert (list_models(store, "default"), list_models(store, "gpu")) == (both, {MODEL: [1, 2]})
    change_rollout(store, MODEL, switch)
    assert (list_models(store, "default"), list_models(store, "gpu")) == (both, {MODEL: [1, 2]})

    def leave_long_ago(now: Rollout) -> Rollout:
        assert now.placement.leaving
        gone = now.placement.leaving.model_copy(
            update={"since": now.placement.leaving.since - timedelta(seconds=KEEP_S)}
        )
        return place(now, now.placement.model_copy(update={"leaving": gone}))

    change_rollout(store, MODEL, leave_long_ago)
    assert (list_models(store, "default"), list_models(store, "gpu")) == ({OTHER: [1]}, {MODEL: [1, 2]})
    refresh_config(store)
    assert (list_models(store, "default"), list_models(store, "gpu")) == ({OTHER: [1]}, {MODEL: [1, 2]})


def test_a_move_that_was_cut_off_loads_nothing_after_the_next_start(store: Store) -> None:
    """The model stays where it answered; the other pool's file is there, and empty."""
    change_rollout(store, MODEL, arrive)
    prepare_config(store)
    assert (list_models(store, "default")[MODEL], list_models(store, "gpu")) == ([1, 2], {})
    assert read_rollout(store, MODEL).placement == Placement()


def test_a_version_that_is_damaged_is_left_out_of_both_pools(store: Store) -> None:
    """And said once; the version before is loaded in both."""
    change_rollout(store, MODEL, arrive)
    (store.path(MODEL, 2) / "saved_model.pb").write_bytes(b"damaged")
    left_out = check_config(store)
    assert (list_models(store, "default")[MODEL], list_models(store, "gpu")[MODEL]) == ([1], [1])
    assert [(each.model, each.version) for each in left_out.versions] == [(MODEL, 2)]


def test_a_damaged_rollout_leaves_its_model_in_the_pool_where_it_is(store: Store) -> None:
    """What its servers have loaded stays loaded there, and nowhere else."""
    change_rollout(store, MODEL, lambda now: place(now, Placement(pool="gpu")))
    (store.folder(MODEL) / FILE).write_text("{")
    refresh_config(store)
    assert (list_models(store, "default"), list_models(store, "gpu")) == ({OTHER: [1]}, {MODEL: [1, 2]})


def test_what_another_pool_has_loaded_is_not_deleted(store: Store) -> None:
    """Versions that replace a damaged one have no role, and are in use."""
    for _ in range(3):
        publish(store, MODEL, stable=False)
    change_rollout(store, MODEL, lambda now: place(now.preload(5), Placement(pool="gpu")))
    change_rollout(store, MODEL, lambda now: place(promote(5)(now), now.placement))
    (store.path(MODEL, 5) / "saved_model.pb").write_bytes(b"damaged")
    (store.path(MODEL, 2) / "saved_model.pb").write_bytes(b"damaged")
    check_config(store)
    assert list_models(store, "gpu")[MODEL] == [1]
    assert 1 not in {each.version for each in find_removable(store, MODEL, 1)}


def test_a_model_that_was_never_moved_says_nothing_of_pools(store: Store) -> None:
    """So a gateway of the release before reads its rollout."""
    path = store.folder(MODEL) / FILE
    assert "placement" not in json.loads(path.read_bytes())
    change_rollout(store, MODEL, lambda now: place(now, Placement(pool="gpu")))
    assert json.loads(path.read_bytes())["placement"]["pool"] == "gpu"


def test_labels_are_bound_in_each_pool_by_what_its_servers_had(store: Store) -> None:
    """In the pool that is new to the model at once: it has nothing to take the label from."""
    change_rollout(store, MODEL, lambda now: now.preload(2).label("blue", 1, by="t", reason="r"))
    change_rollout(store, MODEL, arrive)
    assert read_left_out(store).labels == ()
    for pool in ("default", "gpu"):
        text = (store.root / name_file(pool)).read_text()
        assert 'key: "blue" value: 1' in text, pool


# --- memory -----------------------------------------------------------------------------------------------------------


def publish_large(store: Store, model: str, megabytes: int) -> int:
    """A version whose manifest says so much; its files are small."""
    return publish(store, model, stable=False, size=VersionSize(parameters=megabytes * MB, graph=0, assets=0))


def test_a_version_that_does_not_fit_is_refused_with_the_arithmetic(store: Store) -> None:
    """What is loaded, what it needs, and how much is missing add up."""
    version = publish_large(store, MODEL, 300)
    needed, used = find_memory(store, MODEL, version), sum(each.memory for each in list_loaded(store, "default"))
    room = used + needed - 88
    one = {each.model: each.memory for each in list_loaded(store, "default")}
    require_room(store, "default", (room + 88) * MB, [(MODEL, version)])
    with pytest.raises(NoRoom) as refused:
        require_room(store, "default", room * MB, [(MODEL, version)])
    assert str(refused.value) == (
        f"{MODEL} {version} needs {needed} MB; pool default has {room} MB, {used} MB taken by "
        f"{MODEL} 1 ({one[MODEL]} MB), {MODEL} 2 ({one[MODEL]} MB) and {OTHER} 1 ({one[OTHER]} MB): 88 MB short"
    )


def test_what_is_loaded_counts_once_and_only_in_its_pools(store: Store) -> None:
    """A canary that becomes stable needs nothing more; while a model moves it counts in both pools."""
    used = sum(each.memory for each in list_loaded(store, "default"))
    require_room(store, "default", used * MB, [(MODEL, 2), (OTHER, 1)])
    assert list_loaded(store, "gpu") == ()
    change_rollout(store, MODEL, arrive)
    assert [(each.model, each.version) for each in list_loaded(store, "gpu")] == [(MODEL, 1), (MODEL, 2)]
    assert len(list_loaded(store, "default")) == 3


def test_a_pool_that_states_no_memory_takes_everything(store: Store) -> None:
    """Nothing is checked that nobody asked for."""
    require_room(store, "default", None, [(MODEL, publish_large(store, MODEL, 1_000_000))])


def test_of_many_versions_the_largest_are_named(store: Store) -> None:
    """The sentence stays one; the rest is summed up."""
    models = [f"model_{letter}" for letter in "abcdefgh"]
    for index, model in enumerate(models):
        version = publish_large(store, model, 10 * (index + 1))
        change_rollout(store, model, promote(version))
    with pytest.raises(NoRoom) as refused:
        require_room(store, "default", MB, [(MODEL, publish_large(store, MODEL, 1))])
    assert [model for model in models if model in str(refused.value)] == models[-5:]
    assert "6 more (" in str(refused.value)


def test_a_size_is_that_of_what_is_loaded(tmp_path: Path) -> None:
    """Parameters, graph and vocabularies; not what lies beside the model for people."""
    for name, size in (("saved_model.pb", 10), ("variables/a", 20), ("variables/b", 30), ("assets/v/w.txt", 5)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "golden.npz").write_bytes(b"x" * 1000)
    assert measure_size(tmp_path) == VersionSize(parameters=50, graph=10, assets=5)


def test_an_estimate_is_in_whole_megabytes_and_grows_with_each_part() -> None:
    """And never less than the parameters are."""
    sizes = [
        VersionSize(parameters=p * MB, graph=g * MB, assets=a * MB) for p, g, a in ((1, 1, 1), (50, 1, 1), (1, 9, 1))
    ]
    smallest, *others = map(estimate_memory, sizes)
    assert smallest >= 3
    assert all(each > smallest for each in others)


def test_a_version_of_before_is_measured_by_its_files(store: Store) -> None:
    """Its manifest says nothing; one that is not on this machine counts nothing."""
    (store.path(MODEL, 2) / "variables").mkdir()
    before = find_memory(store, MODEL, 2)
    (store.path(MODEL, 2) / "variables" / "data").write_bytes(b"x" * 3 * MB)
    assert find_memory(store, MODEL, 2) > before >= 1
    assert find_memory(store, MODEL, 99) == 0


# --- settings ---------------------------------------------------------------------------------------------------------


def test_pools_are_read_from_json_or_a_table() -> None:
    """Addresses as a list, or separated by commas as those of the default pool are."""
    expected = {"gpu": ("a:1", "dns:b:2"), "big-memory": ("c:3",)}
    assert parse_pools('{"gpu": "a:1, dns:b:2", "big-memory": ["c:3"]}') == expected
    assert parse_pools(expected) == expected
    assert parse_pools("") == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gpu=a:1", "expected JSON such as"),
        ('["a:1"]', "expected an object such as"),
        ('{"default": "a:1"}', "are those of MODELYARD_SERVING"),
        ('{"GPU": "a:1"}', "lower-case letters"),
        ('{"a/../b": "a:1"}', "lower-case letters"),
        ('{"gpu": ""}', "gpu: expected at least one address"),
        ('{"gpu": 7}', "gpu: expected addresses"),
        ('{"gpu": "dns:nowhere"}', "expected dns:HOST:PORT"),
    ],
)
def test_pools_that_cannot_be_are_refused(given: str, said: str) -> None:
    """With what was expected."""
    with pytest.raises(ValueError, match=said):
        parse_pools(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("default=2g,gpu=15g", {"default": 2 << 30, "gpu": 15 << 30}),
        (" gpu = 1.5GiB ", {"gpu": 3 << 29}),
        ({"gpu": "512m", "default": 7}, {"gpu": 512 << 20, "default": 7}),
        ("", {}),
    ],
)
def test_sizes_are_read_as_container_engines_read_them(given: Any, expected: dict[str, int]) -> None:
    """In powers of 1,024."""
    assert parse_sizes(given) == expected


@pytest.mark.parametrize("given", ["gpu", "gpu=", "gpu=5", "gpu=0g", "gpu=-1g", "gpu=many", {"gpu": True}, 7])
def test_sizes_that_are_none_are_refused(given: Any) -> None:
    """A number without a unit could be bytes or megabytes."""
    with pytest.raises(ValueError, match="expected"):
        parse_sizes(given)


def test_an_unknown_pool_is_refused_with_the_one_that_is_meant() -> None:
    """By a spec, a person, and the setting of memory alike; where there is one pool a spec may name any."""
    pools = ServingPools.of(("a:1",), {"gpu": ("b:2",)})
    assert pools.find("gpu") == ("b:2",)
    for ask in (pools.find, pools.require, pools.require_named):
        with pytest.raises(UnknownPool, match="unknown pool 'gup'; did you mean gpu\\?"):
            ask("gup")
    with pytest.raises(ValueError, match="did you mean gpu"):
        check_sizes({"gup": 1}, {"gpu": ("b:2",)})
    pools.require_named("")
    ServingPools.of(("a:1",)).require_named("gup")
