"""Flags: how overlays look, and what a run prints; for the commands of `cli` to name.

Types alone. This file knows typer; nothing of the library.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from gradcam_hooks.apps.cli.flags import RESULTS

MaxSide: TypeAlias = Annotated[
    int,
    typer.Option(
        help="The overlays' longer side in pixels at most; 0 for the picture's own.",
        metavar="N",
        min=0,
        rich_help_panel=RESULTS,
    ),
]
Format: TypeAlias = Annotated[
    str,
    typer.Option(
        "--format",
        help="Of the overlays; png loses nothing, and takes longest.",
        metavar="jpeg|webp|png",
        rich_help_panel=RESULTS,
    ),
]
Colormap: TypeAlias = Annotated[
    str,
    typer.Option(
        help="inferno, jet, viridis, ..., or one of matplotlib's.",
        metavar="NAME",
        rich_help_panel=RESULTS,
    ),
]
Alpha: TypeAlias = Annotated[
    float,
    typer.Option(
        help="The map's weight where it is highest: 0 is the picture alone, 1 the map alone.",
        metavar="NUMBER",
        min=0,
        max=1,
        rich_help_panel=RESULTS,
    ),
]
Opacity: TypeAlias = Annotated[
    str,
    typer.Option(
        help="map: what the network ignored stays bright; even: the weight is the same everywhere.",
        metavar="map|even",
        rich_help_panel=RESULTS,
    ),
]
Caption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--caption/--no-caption",
        help="Say below each overlay what it is a picture of; without, it keeps its size.",
        rich_help_panel=RESULTS,
    ),
]
Quiet: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print nothing but what is wrong.",
        rich_help_panel=RESULTS,
    ),
]
Json: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the record of each picture as a line of JSON as soon as it is there, and "
        "nothing else on standard output.",
        rich_help_panel=RESULTS,
    ),
]
