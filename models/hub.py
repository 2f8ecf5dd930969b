"""Where a named model lies: a local folder, or a repository of the hub, whose files are fetched once and kept."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from huggingface_hub import snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from configs.errors import CheckpointError
from models.shipped import SHIPPED, shipped_folder

# The library's HTTP errors derive from those of the HTTP client that it uses; so does a refused connection. A name or
# metadata that the hub does not accept is a ValueError.
HUB_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    EntryNotFoundError,
    cast(type[Exception], HfHubHTTPError.__bases__[0]),
)
HUB_ID = re.compile(r"[\w\-][\w.\-]*/[\w\-][\w.\-]*")
OFFLINE_HINT = "no folder of this name exists; is the name right? Offline, only models fetched before are found"

Result = TypeVar("Result")


def is_hub_id(source: str | Path) -> bool:
    """Whether a name means `owner/model` on the hub: it is a string of this form and no folder of this name exists."""
    return isinstance(source, str) and bool(HUB_ID.fullmatch(source)) and not Path(source).exists()


def local_folder(source: str | Path, files: Sequence[str], **options: Any) -> Path:
    """The folder of a model; one on the hub is fetched into the hub library's cache.

    Args:
        source: a folder, the name of a shipped checkpoint, or `owner/model` on the hub.
        files: names of the files to fetch; nothing else of the repository is touched.
        options: of huggingface_hub.snapshot_download: revision, token, cache_dir, local_files_only, force_download.

    Raises:
        CheckpointError: no such folder; or the hub has no such model, or can't be reached.
    """
    if shipped := shipped_folder(source):
        return shipped
    if not is_hub_id(source):
        if not Path(source).exists():
            raise CheckpointError("no such folder", source, hint=f"shipped ones have the names {', '.join(SHIPPED)}")
        if not Path(source).is_dir():
            raise CheckpointError("is a file; the folder of a checkpoint is needed", source)
        return Path(source)
    return Path(on_hub(source, lambda: snapshot_download(str(source), allow_patterns=list(files), **options)))


def on_hub(source: str | Path, act: Callable[[], Result]) -> Result:
    """Do something with a repository of the hub; its failures become ours.

    Raises:
        CheckpointError: with the first line of what the hub library says.
    """
    try:
        return act()
    except HUB_ERRORS as error:
        said = (str(error).strip().splitlines() or [""])[0]
        what = f"the hub refused or can't be reached: {type(error).__name__}: {said}"
        raise CheckpointError(what, source, hint=OFFLINE_HINT) from error
