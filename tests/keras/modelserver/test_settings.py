"""Flags and ``models.config``: what is understood, and what is refused in which words."""

from pathlib import Path

import pytest

from modelyard.services.modelserver.errors import InvalidConfig
from modelyard.services.modelserver.flags import REFUSED, WITHOUT_EFFECT, list_flags_without_effect
from modelyard.services.modelserver.lifecycle.config import parse_config
from modelyard.services.modelserver.server import ModelServer
from modelyard.services.modelserver.settings import Settings, parse_flags
from tests.support.repository import ROOT

FILE = "--model_config_file=/x"
METRICS = ("--rest_api_port=8501", "--monitoring_config_file=/x")
THEIR_FLAGS = ROOT / "tests/slim/tensorflow_serving_flags.txt"
ENTRY = 'config { name: "m" base_path: "/x" model_platform: "tensorflow" %s }'


def test_flags_have_tensorflow_servings_names_and_forms() -> None:
    """``--flag=value``, ``--flag value`` and bare booleans."""
    settings = parse_flags([FILE, "--port", "9000", "--enable_model_warmup=false", "--allow_public"])
    assert (settings.port, settings.enable_model_warmup, settings.allow_public) == (9000, False, True)
    assert settings.model_config_file == Path("/x")
    assert (settings.max_num_load_retries, settings.load_retry_interval_micros) == (5, 60_000_000)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "neither --model_config_file nor --model_base_path is given"),
        ([FILE, "--batching_parameters_file=/x"], "--batching_parameters_file supplied without --enable_batching"),
        ([FILE, "--grpc_channel_arguments=grpc.x"], "expected name=value,name=value, received 'grpc.x'"),
        ([FILE, "--prot=1"], "unrecognized arguments: --prot=1"),
        ([FILE, "--port=many"], "--port: Input should be a valid integer"),
        ([FILE, "--grpc_max_threads=0"], "--grpc_max_threads: Input should be greater than or equal to 1"),
        ([FILE, "--bind_address=0.0.0.0"], "'0.0.0.0' is reachable from other machines and this server has no auth"),
        ([FILE, "--use_alts_credentials"], "--use_alts_credentials: this server knows no ALTS"),
        (
            [FILE, "--bind_address=0.0.0.0", *METRICS, "--tls_client_ca_file=/x", "--tls_certificate_file=/x"],
            "metrics at bind_address '0.0.0.0' are readable from other machines, without TLS or a certificate",
        ),
        ([FILE, "--bind_address=example.org"], "use a loopback address, have clients show certificates"),
    ],
)
def test_bad_flags_end_with_status_2_and_the_reason(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag is named, and no traceback is printed."""
    with pytest.raises(SystemExit) as ended:
        parse_flags(flags)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_every_flag_of_tensorflow_serving_is_known() -> None:
    """Taken, taken without an effect and said so, or refused for what it would pretend; in any of its forms."""
    theirs = [line for line in THEIR_FLAGS.read_text().splitlines() if not line.startswith("#")]
    ours = {*Settings.model_fields, *WITHOUT_EFFECT, *REFUSED, "version"}
    assert set(theirs) <= ours
    flags = ["--rest_api_port=8501", "--num_load_threads", "4", "--enable_profiler", FILE, "--flush_filesystem_caches"]
    assert parse_flags(flags).model_config_file == Path("/x")
    found = ["rest_api_port", "num_load_threads", "enable_profiler", "flush_filesystem_caches"]
    assert list(list_flags_without_effect(flags)) == found
    both = list_flags_without_effect([*flags, "--monitoring_config_file=/x"])
    assert list(both) == found[1:]
    assert parse_flags([FILE, "--use_alts_credentials=false"]).port == 8500


def test_session_parallelism_stands_for_both_kinds_of_threads() -> None:
    """As in TensorFlow Serving; channel arguments that look like numbers are numbers."""
    flags = ["--tensorflow_session_parallelism=3", "--grpc_channel_arguments=grpc.max_concurrent_streams=7,grpc.name=x"]
    settings = parse_flags([FILE, *flags])
    assert (settings.intra_op_threads, settings.inter_op_threads) == (3, 3)
    assert settings.channel_options == [("grpc.max_concurrent_streams", 7), ("grpc.name", "x")]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_addresses_need_no_leave(address: str) -> None:
    """All of them stay on this machine."""
    assert parse_flags([FILE, f"--bind_address={address}"]).address.endswith(":8500")


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("", [9]),
        ("model_version_policy { }", [9]),
        ("model_version_policy { latest { } }", None),
        ("model_version_policy { latest { num_versions: 2 } }", [5, 9]),
        ("model_version_policy { all { } }", [1, 5, 9]),
        ("model_version_policy { specific { versions: 1 versions: 7 } }", [1, 7]),
        ("model_version_policy { specific { } }", []),
    ],
)
def test_policy_chooses_versions(policy: str, wanted: list[int] | None) -> None:
    """Unset means the latest; ``specific`` names what must be there, on disk or not."""
    text = f"model_config_list {{ {ENTRY % policy} }}"
    if wanted is None:
        with pytest.raises(InvalidConfig, match=r"latest\.num_versions of m must be at least 1"):
            parse_config(text)
    else:
        assert sorted(parse_config(text)["m"].policy({9, 1, 5})) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a model_config_list"),
        ("custom_model_config { }", "expected a model_config_list"),
        ("model_config_list {", "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:"),
        ('model_config_list { config { base_path: "/x" } }', "every model needs a name"),
        ('model_config_list { config { name: "m" base_path: "x" } }', "base_path of m must be an absolute path"),
        ('model_config_list { config { name: "m" base_path: "/x" } }', "model_platform of m must be 'tensorflow'"),
        (f"model_config_list {{ {ENTRY % ''} {ENTRY % ''} }}", "model names must be unique, received m, m"),
    ],
)
def test_configuration_that_breaks_a_rule_is_refused_with_the_rule(text: str, words: str) -> None:
    """An empty file is no wish to unload everything; an explicit empty list is."""
    with pytest.raises(InvalidConfig, match=words):
        parse_config(text)


def test_explicit_empty_list_is_a_valid_wish_for_no_models() -> None:
    """As rendered for an empty store."""
    assert parse_config("model_config_list {\n}\n") == {}


def test_server_without_a_configuration_does_not_start(tmp_path: Path) -> None:
    """The reason is given at start, not to the first client."""
    settings = parse_flags([f"--model_config_file={tmp_path / 'models.config'}", "--port=0"])
    with pytest.raises(InvalidConfig, match="cannot read model_config_file"):
        ModelServer(settings, on_failure=lambda: None).start()
