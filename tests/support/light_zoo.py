"""All networks that readings are judged by."""

from __future__ import annotations

from tests.support.light import Net
from tests.support.light_further import FURTHER
from tests.support.light_kinds import KINDS
from tests.support.light_libraries import LIBRARY_SERIES
from tests.support.light_own import OWN
from tests.support.light_pictures import PICTURES
from tests.support.light_series import SERIES
from tests.support.light_timm import LIBRARIES
from tests.support.light_trained import TRAINED

NETS: list[Net] = [
    *PICTURES,
    *SERIES,
    *LIBRARIES,
    *OWN,
    *LIBRARY_SERIES,
    *FURTHER,
    *KINDS,
    *TRAINED,
]
