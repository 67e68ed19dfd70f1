"""Settings of the gateway."""

import ipaddress
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from modelyard.services.gateway.oidc_settings import OidcSettings
from modelyard.services.settings import LOCAL as LOCAL  # noqa: PLC0414  # a value of these settings
from modelyard.services.settings import Addresses, StoreSettings, below_home, is_loopback, split_list
from modelyard.services.tls.files import PemFile, check_certificates, check_pair
from modelyard.services.tracing.settings import TracingSettings

ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")
"""RFC 6454, section 6.2: what a browser sends."""

SUBMISSIONS_PER_MIN = 60.0


def _split_names(value: object) -> object:
    """Commas separate names, unless the value is a list in JSON: names may have commas and spaces."""
    if not isinstance(value, str) or not value.strip().startswith("["):
        return split_list(value)
    return tuple(orjson.loads(value))


def _split_words(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split_names)]
"""Names of models, separated by commas or as a list in JSON (mark the field ``NoDecode``)."""


class GatewaySettings(TracingSettings, OidcSettings, StoreSettings):
    """Settings of the gateway."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; only loopback, unless MODELYARD_KEY_SECRET is set."
    )
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.")
    https_certificate: Annotated[PemFile, AfterValidator(check_certificates)] = Field(
        None,
        description="File of a certificate, in PEM, with those between it and its authority: the gateway speaks HTTPS "
        "itself. Not set: HTTP, behind a proxy with TLS.",
    )
    https_key: PemFile = Field(
        None, validate_default=True, description="File of its key, without a passphrase: mode as of MODELYARD_TLS_KEY."
    )
    gateway_number: int = Field(
        0,
        ge=0,
        le=64,
        description="Number of this gateway among those on this machine that share its port; 0: none do.",
    )
    gateway_sockets: Path = Field(
        default_factory=below_home("run"),
        description="Folder of the sockets by which such gateways read each other's metrics.",
    )
    threads: int = Field(
        8, ge=1, le=512, description="Largest number of requests in progress that are not predictions."
    )
    store: Path = Field(
        default_factory=below_home("store"), description="Folder of the model store; only rollouts are written."
    )
    serving: Annotated[Addresses, NoDecode] = Field(
        ("127.0.0.1:8500",),
        min_length=1,
        description="Addresses of the model servers, separated by commas; the least busy one that responds is used. "
        "`dns:HOST:PORT`: every address of a name, as they come and go. `local`: one inside this process, alone.",
    )
    serving_flags: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_words)] = Field(
        (),
        description="Flags of the model server inside this process, as on its command line; quotes as in a shell. "
        "Unless they say what to serve, it is the store's models.config.",
    )
    max_batch: int = Field(64, ge=1, le=4096, description="Largest number of rows in one call to the model server.")
    batch_external_models: Literal["checked", "always", "never"] = Field(
        "checked",
        description="Whether requests share runs of models that are not from the pipeline: once rows were found to be "
        "independent, always, or never.",
    )
    cached_models: Annotated[Addresses, NoDecode] = Field(
        (), description="Models whose responses are cached, by version and inputs; separated by commas."
    )
    cache_bytes: int = Field(
        67_108_864, ge=0, description="Memory for cached responses; the least recently used are evicted."
    )
    max_in_flight: int = Field(
        512, ge=1, description="Largest number of predictions of one model in flight; more are refused with 503."
    )
    max_bytes_in_flight: int = Field(
        268_435_456,
        ge=1,
        description="Memory for the bodies of all requests in progress; what does not fit is refused with 503.",
    )
    key_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Largest share of these that one API key may take; more are refused with 429.",
    )
    predictions_per_s: float = Field(
        0.0,
        ge=0,
        description="Predictions per second, and at once, for each API key, or each address without keys; more are "
        "refused with 429. 0: no limit but the two before.",
    )
    submissions_per_min: float | None = Field(
        None,
        ge=0,
        description="Jobs and searches submitted per minute, and at once, for each API key, or each address without "
        "keys; 0: no limit. Unless set, 60 with keys and no limit without.",
    )
    failed_keys_per_min: float = Field(
        6000.0,
        ge=0,
        description="Requests without a valid API key per minute, and at once, from one address, that are told so with "
        "401; more are refused with 429. 0: no limit.",
    )
    trusted_proxies: Annotated[Addresses, NoDecode] = Field(
        (),
        description="Addresses or networks of proxies whose X-Forwarded-For is believed, such as 127.0.0.1 or "
        "10.0.0.0/8, separated by commas.",
    )
    body_timeout_s: float = Field(
        10.0, gt=0, le=600, description="Time for a body to arrive, and for the next chunk of a streamed one."
    )
    drain_wait_s: float = Field(
        0.0,
        ge=0,
        le=60,
        description="Seconds from SIGTERM, when /readyz turns 503, to the end of listening; 5 behind a load balancer.",
    )
    external_models: Annotated[Names, NoDecode] = Field(
        (),
        description="Models that the model servers host beside those of the store, separated by commas, or as a list "
        "in JSON.",
    )
    predict_timeout_s: float = Field(
        5.0, gt=0, le=30, description="Time for a prediction, unless the client sends X-Timeout-Ms, up to 30000."
    )
    status_timeout_s: float = Field(
        1.0, gt=0, le=30, description="Time for a request for a model's status or metadata."
    )
    max_json_bytes: int = Field(8_388_608, ge=1, description="Largest JSON or text body.")
    max_elements: int = Field(
        262_144, ge=1, description="Largest number of values in one JSON or CSV body; names count as values."
    )
    max_image_bytes: int = Field(2_097_152, ge=1, description="Largest PNG or JPEG body.")
    max_tensor_bytes: int = Field(16_777_216, ge=1, description="Largest body with tensors in binary form.")
    max_instances: int = Field(
        256,
        ge=1,
        description="Largest number of inputs in one prediction: of instances, or rows of a model from the pipeline.",
    )
    max_depth: int = Field(32, ge=1, le=1000, description="Deepest nesting of a JSON body.")
    max_files: int = Field(10, ge=1, description="Largest number of files in one multipart form.")
    cors_origins: Annotated[Addresses, NoDecode] = Field(
        (),
        description="Origins whose pages may predict and send feedback, such as https://app.example.org, separated by "
        "commas; others may not, and there is no way to name them all.",
    )
    max_batch_pixels: int = Field(
        64_000_000,
        ge=1,
        description="Largest number of pixels in one prediction's images: small files can decode to large ones.",
    )
    public_docs: bool = Field(False, description="Whether /docs and /openapi.json can be read without an API key.")
    captured_models: Annotated[Addresses, NoDecode] = Field(
        (),
        description="Models whose predictions are captured for feedback, inputs included; separated by commas.",
    )
    capture_rate: float = Field(1.0, ge=0, le=1, description="Share of their requests that is captured.")
    capture_days: float = Field(30.0, gt=0, le=3650, description="Days after which a captured prediction is deleted.")
    capture_bytes: int = Field(268_435_456, ge=0, description="Bytes of captured inputs; the oldest are deleted first.")
    session_hours: float = Field(
        12.0,
        gt=0,
        le=720,
        description="Hours until a browser that signed in has to do so again; its key may end before.",
    )
    allowed_hosts: Annotated[Addresses, NoDecode] = Field(
        (),
        description="Names besides localhost by which a gateway without keys may be called, such as that of a proxy on "
        "the same machine, separated by commas; others are refused, as any site could give its own name this address.",
    )
    traffic_s: float = Field(
        10.0, ge=0, le=300, description="Seconds between two writes of each version's traffic into the ledger; 0: none."
    )

    def limits_only(self) -> "GatewaySettings":
        """The limits of bodies, with everything else as it is by default: no secret goes where none is needed."""
        return self.model_construct(**{name: value for name, value in self if name.startswith("max_")})

    @property
    def has_model_server(self) -> bool:
        """Whether the model server runs inside this process."""
        return self.serving == (LOCAL,)

    @property
    def submission_limit_per_min(self) -> float:
        """0 for no limit."""
        if self.submissions_per_min is not None:
            return self.submissions_per_min
        return 0.0 if self.key_secret is None else SUBMISSIONS_PER_MIN

    @property
    def scheme(self) -> str:
        return "https" if self.https_key else "http"

    @field_validator("https_key")
    @classmethod
    def _belongs_to_https(cls, key: Path | None, before: ValidationInfo) -> Path | None:
        if "https_certificate" in before.data:  # else that one was refused
            check_pair(before.data["https_certificate"], key, "MODELYARD_HTTPS_CERTIFICATE")
        return key

    @field_validator("serving")
    @classmethod
    def _alone(cls, serving: tuple[str, ...]) -> tuple[str, ...]:
        if LOCAL in serving and len(serving) > 1:
            raise ValueError(f"expected addresses, or {LOCAL} alone, received {', '.join(serving)}")
        return serving

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)
        return networks

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"expected origins such as https://app.example.org, received {origin!r}")
        return origins

    @field_validator("allowed_hosts")
    @classmethod
    def _lower_case(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.lower() for name in names)

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str, before: ValidationInfo) -> str:
        """``before``: fields of the parents come first."""
        if not is_loopback(host) and not before.data.get("key_secret"):
            raise ValueError(
                f"{host!r} can be reached from other machines, and without MODELYARD_KEY_SECRET no request needs "
                "API keys; set it (`openssl rand -hex 32`), or listen on 127.0.0.1"
            )
        return host
