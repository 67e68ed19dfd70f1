"""Settings of one model server process, from flags named as TensorFlow Serving names them."""

import argparse
import importlib.metadata
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from modelyard.models.errors import describe_problem
from modelyard.services.modelserver.flags import REFUSED, WITHOUT_EFFECT
from modelyard.services.modelserver.metrics.monitoring import read_path
from modelyard.services.modelserver.runtime.servable import RequestOptions


class Settings(BaseModel):
    """Settings of the model server. A description marked *ours* has no counterpart in TensorFlow Serving."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(8500, ge=0, le=65535, description="Port to listen on for gRPC; 0 takes a free one.")
    bind_address: str = Field("127.0.0.1", description="Address to listen on. (ours)")
    allow_public: bool = Field(
        default=False,
        description="Allow an address that other machines reach, although clients are not authenticated. (ours)",
    )
    grpc_socket_path: Path | None = Field(None, description="Listen on this unix-domain socket too.")
    ssl_config_file: Path | None = Field(
        None,
        description="Text-format SSLConfig: speak TLS alone, but on the unix-domain socket; followed as it changes.",
    )
    tls_certificate_file: Path | None = Field(
        None, description="The same by files, in PEM: the certificate, with those between it and its authority. (ours)"
    )
    tls_key_file: Path | None = Field(
        None, description="Its key, without a passphrase; mode 0600 at most, or 0640 of root's. (ours)"
    )
    tls_client_ca_file: Path | None = Field(
        None,
        description="Authorities of clients' certificates (mutual TLS); without it they need none. (ours)",
    )
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port that answers grpc.health.v1 without TLS, and nothing else, for kubelet, which knows none; "
        "0: no such port. (ours)",
    )
    rest_api_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of the metrics that monitoring_config_file turns on, without TLS, and of nothing else; "
        "0: none.",
    )
    monitoring_config_file: Path | None = Field(
        None,
        description="Text-format MonitoringConfig: whether Prometheus finds metrics on rest_api_port, and their path. "
        "Inside the gateway's process they are among the gateway's.",
    )
    grpc_channel_arguments: str = Field(
        "", description="Further arguments of the gRPC server, name=value, separated by commas."
    )
    model_config_file: Path | None = Field(
        None, description="Text-format ModelServerConfig: which versions of which models to serve."
    )
    model_name: str = Field("default", min_length=1, description="Name of the model, without a configuration file.")
    model_base_path: Path | None = Field(
        None, description="Its folder of versions, of which the latest is served; without a configuration file."
    )
    model_config_file_poll_wait_seconds: float = Field(
        1, ge=0, description="Seconds between polls of the configuration; 0 reads it once."
    )
    file_system_poll_wait_seconds: float = Field(
        1,
        ge=0,
        description="Seconds between polls of the version folders; 0 reads them only when the configuration changes.",
    )
    tensorflow_session_parallelism: int = Field(
        0, ge=0, description="Sets both of the following; 0 leaves them unchanged."
    )
    tensorflow_intra_op_parallelism: int = Field(
        0, ge=0, description="Threads within one operation; 0 is one, which serves the most calls."
    )
    tensorflow_inter_op_parallelism: int = Field(
        0, ge=0, description="Operations of one call run side by side; 0 runs them one by one in the call's thread."
    )
    saved_model_tags: str = Field("serve", description="Tags of the graph to load, separated by commas.")
    enable_batching: bool = Field(default=False, description="Join concurrent calls into one run.")
    batching_parameters_file: Path | None = Field(None, description="Text-format BatchingParameters.")
    enable_per_model_batching_parameters: bool = Field(
        default=False,
        description="Read batching_params.pbtxt in each version's folder instead, and batch no calls without one; "
        "threads still come from the common file. Needs enable_batching.",
    )
    allow_version_labels_for_unavailable_models: bool = Field(
        default=False, description="Let a new label name a version that is not available yet."
    )
    max_num_load_retries: int = Field(5, ge=0, description="Further tries to load a version after the first failed.")
    load_retry_interval_micros: int = Field(60_000_000, ge=0, description="Microseconds between two of these tries.")
    grpc_max_threads: int = Field(
        4 * (os.cpu_count() or 1), ge=1, description="Predictions that run at once; the others wait in order."
    )
    enable_model_warmup: bool = Field(
        default=True,
        description="Replay assets.extra/tf_serving_warmup_requests before a version answers; without any, run it once "
        "on zeros.",
    )
    num_request_iterations_for_warmup: int = Field(
        0, ge=0, description="Replay each of these requests so many times; 0 is once."
    )
    enable_grpc_healthcheck_service: bool = Field(default=True, description="Answer grpc.health.v1.")
    enable_signature_method_name_check: bool = Field(
        default=False, description="Let Classify and Regress refuse signatures of another method."
    )
    enable_serialization_as_tensor_content: bool = Field(
        default=False, description="Return Predict's tensors as bytes, which cost less than lists of values."
    )
    strict: bool = Field(
        default=False,
        description="Fail where TensorFlow Serving does: end with status 255 if a model cannot be loaded at the start, "
        "open no port before all are, and stop reloading after a model without versions. For tests. (ours)",
    )
    drain_timeout_seconds: float = Field(
        20, ge=0, description="Maximum seconds for calls in flight to finish after SIGTERM. (ours)"
    )

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> Self:
        protected = self.allow_public or self.tls_client_ca_file is not None
        if not protected and not is_loopback(self.bind_address):
            raise ValueError(
                f"bind_address {self.bind_address!r} is reachable from other machines and this server has no "
                "authentication; use a loopback address, have clients show certificates (--tls_client_ca_file), or add "
                "--allow_public"
            )
        return self

    @model_validator(mode="after")
    def _keeps_metrics_on_this_machine(self) -> Self:
        shown = self.rest_api_port and self.monitoring_config_file is not None
        if shown and not self.allow_public and not is_loopback(self.bind_address):
            raise ValueError(
                f"metrics at bind_address {self.bind_address!r} are readable from other machines, without TLS or a "
                "certificate; use a loopback address, leave out --rest_api_port, or add --allow_public"
            )
        return self

    @model_validator(mode="after")
    def _has_whole_certificate(self) -> Self:
        own = self.tls_certificate_file, self.tls_key_file
        if any(own) is not all(own) or (self.tls_client_ca_file and not any(own)):
            raise ValueError(
                "expected --tls_certificate_file and --tls_key_file together, and both with --tls_client_ca_file"
            )
        if any(own) and self.ssl_config_file:
            raise ValueError("expected --ssl_config_file, or --tls_certificate_file and --tls_key_file; received both")
        return self

    def find_metrics_path(self) -> str | None:
        """Where the metrics are, on ``rest_api_port``; None if they are not shown. Raises ``InvalidConfig``."""
        if not self.rest_api_port or self.monitoring_config_file is None:
            return None
        return read_path(self.monitoring_config_file)

    @property
    def request_options(self) -> RequestOptions:
        return RequestOptions(self.enable_signature_method_name_check, self.enable_serialization_as_tensor_content)

    @model_validator(mode="after")
    def _knows_its_models(self) -> Self:
        if self.model_config_file is None and self.model_base_path is None:
            raise ValueError("neither --model_config_file nor --model_base_path is given: nothing to serve")
        return self

    @model_validator(mode="after")
    def _needs_batching(self) -> Self:
        if self.batching_parameters_file is not None and not self.enable_batching:
            raise ValueError("--batching_parameters_file supplied without --enable_batching")
        return self

    @field_validator("grpc_channel_arguments")
    @classmethod
    def _has_values(cls, given: str) -> str:
        if not all(name and value for name, value in _pairs(given)):
            raise ValueError(f"expected name=value,name=value, received {given!r}")
        return given

    @property
    def channel_options(self) -> list[tuple[str, int | str]]:
        """``grpc_channel_arguments`` as pairs; numeric values are integers."""
        pairs = _pairs(self.grpc_channel_arguments)
        return [(name, int(value) if value.lstrip("-").isdecimal() else value) for name, value in pairs]

    @property
    def intra_op_threads(self) -> int:
        return self.tensorflow_session_parallelism or self.tensorflow_intra_op_parallelism

    @property
    def inter_op_threads(self) -> int:
        return self.tensorflow_session_parallelism or self.tensorflow_inter_op_parallelism

    @property
    def address(self) -> str:
        host = f"[{self.bind_address}]" if ":" in self.bind_address else self.bind_address
        return f"{host}:{self.port}"


def parse_flags(arguments: Sequence[str]) -> Settings:
    """The settings of a command line.

    Raises:
        SystemExit: status 2, after one line that names the unknown, missing or invalid flag.
    """
    given = vars(_parser().parse_args(arguments))
    try:
        return Settings(**{name: value for name, value in given.items() if name not in WITHOUT_EFFECT})
    except ValidationError as error:
        _refuse(error)


def _pairs(given: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (pair.partition("=") for pair in given.split(",") if given)]


def is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _parser() -> argparse.ArgumentParser:
    """One flag per field; a flag that is not given stays out, so defaults stand in one place."""
    parser = argparse.ArgumentParser(
        "python -m modelyard.services.modelserver",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        description=__doc__,
    )
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else f"default: {field.default}"
        help_text = f"{field.description} [{default}]".replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(f"--{name}", nargs="?", const="true", metavar="true|false", help=help_text)
        else:
            parser.add_argument(f"--{name}", metavar="VALUE", help=help_text)
    for name, why in WITHOUT_EFFECT.items():
        parser.add_argument(f"--{name}", nargs="?", metavar="VALUE", help=f"Does nothing here: {why}.")
    for name in REFUSED:
        parser.add_argument(f"--{name}", nargs="?", action=RefusedFlag, help="Refused: this server knows no ALTS.")
    parser.add_argument("--version", action="version", version=importlib.metadata.version("modelyard"))
    return parser


class RefusedFlag(argparse.Action):
    """Ends the process with status 2, unless the flag turns off what is off already."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        """``rest``: the namespace, the value and the flag."""
        _, value, flag = rest
        if value not in ("false", "0", ""):
            parser.exit(2, f"{flag}: this server knows no ALTS; --ssl_config_file has it speak TLS\n")


def _refuse(error: ValidationError) -> NoReturn:
    problem = error.errors()[0]
    flag = f"--{problem['loc'][0]}: " if problem["loc"] else ""
    _parser().exit(2, f"{flag}{describe_problem(problem['msg'])}\n")
