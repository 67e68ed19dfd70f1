"""``modelyard.toml`` in the working directory: a project's settings, by the names of the variables in small letters."""

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from modelyard.models.errors import describe_problem
from modelyard.models.sources.project_file import PROJECT as PROJECT  # noqa: PLC0414  # likewise
from modelyard.models.sources.project_file import InvalidSettings as InvalidSettings  # noqa: PLC0414  # raised here
from modelyard.models.sources.project_file import read_project as read_project  # noqa: PLC0414  # likewise

PREFIX = "MODELYARD_"


def split_paths(value: object) -> object:
    """The paths in a text, separated as in ``PATH``; any other value as it is."""
    return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value


class ProjectSettings(BaseSettings):
    """Settings from the environment; what it leaves out, from the project's file."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic-settings'
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """In the order in which they win."""
        return init_settings, env_settings, file_secret_settings, InitSettingsSource(settings_cls, read_project())

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Reads the environment and the project's file; ``given`` values win.

        Raises:
            InvalidSettings: names the variable and what is wrong with it.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            problem = error.errors()[0]
            name = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
            raise InvalidSettings(f"{name}: {describe_problem(problem['msg'])}") from None


Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(split_paths)]
"""Folders, separated as in ``PATH``; a list in the project's file."""


class ModelSettings(ProjectSettings):
    """Where models come from."""

    models: Folders = Field(
        (),
        description="Folders of model files, separated as in `PATH`. None: the examples that ship with Modelyard.",
    )
