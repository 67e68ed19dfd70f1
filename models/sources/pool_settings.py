"""Settings of whoever has to know which pools of model servers there are."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_settings import NoDecode

from modelyard.models.sources.project import ProjectSettings
from modelyard.models.tfserving.pools import EXAMPLE, ServingPools, check_sizes, parse_pools, parse_sizes
from modelyard.models.tfserving.tls_files import TlsFiles


def _check_sizes(sizes: Mapping[str, int], before: ValidationInfo) -> Mapping[str, int]:
    return check_sizes(sizes, before.data.get("serving_pools", {}))


class PoolSettings(ProjectSettings):
    """Pools of model servers beside the default one."""

    serving_pools: Annotated[Mapping[str, tuple[str, ...]], NoDecode, BeforeValidator(parse_pools)] = Field(
        {},
        description="Further pools of model servers by name, each with addresses as MODELYARD_SERVING has those of the "
        f"pool `default`, as JSON: `{EXAMPLE}`. A model is in one pool: docs/deploy.md.",
    )
    pool_memory: Annotated[Mapping[str, int], NoDecode, BeforeValidator(parse_sizes), AfterValidator(_check_sizes)] = (
        Field(
            {},
            description="Memory that each model server of a pool has for models, such as `default=2g,gpu=15g`: a "
            "version that does not fit gets no role. Of a pool that is not named nothing is checked.",
        )
    )

    def pools(self, default: Sequence[str], tls: TlsFiles | None) -> ServingPools:
        """Every pool; the servers of the default one are given, and the files of the connections to all."""
        return ServingPools.of(default, self.serving_pools, self.pool_memory, tls)

    def list_servers(self, default: Sequence[str]) -> tuple[str, ...]:
        """Addresses of every pool's servers; those of the default one are given."""
        return (*default, *(address for addresses in self.serving_pools.values() for address in addresses))
