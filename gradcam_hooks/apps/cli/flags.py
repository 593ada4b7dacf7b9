"""Flags: what can be asked on the command line, each with its help, grouped by what it is about.

Types alone, for the commands of `cli` to name. This file knows typer; nothing of the library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

NETWORK, WHAT, PICTURES, RESULTS = "Network", "What to explain", "Pictures", "Results"
PAGE = "Page"

Paths: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="Pictures, scans (NIfTI, DICOM), and folders of such."),
]

ModelName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="torchvision's name (resnet50), timm's (timm:resnet50), a folder of transformers "
        "(hf:folder), or your own function, "
        "package.module:function or path/to/file.py:function.",
        metavar="NAME",
        rich_help_panel=NETWORK,
    ),
]
Weights: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="A .pth, .pt or .safetensors file, or DEFAULT, which is downloaded, or random. "
        "Left out: DEFAULT, and for your own function what it returned.",
        metavar="FILE|DEFAULT|random",
        rich_help_panel=NETWORK,
    ),
]
Against: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Another file of weights (or DEFAULT, random) of the same network, or of "
        "--against-model: both networks' maps stand side by side in the report.",
        metavar="FILE|DEFAULT|random",
        rich_help_panel=NETWORK,
    ),
]
AgainstModel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Another network, named as --model is, beside the first; with the weights of "
        "--against, or as --weights left out.",
        metavar="NAME",
        rich_help_panel=NETWORK,
    ),
]
WeightsIfAny: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="A file of weights, where the number of classes matters, or DEFAULT. Left out: "
        "random ones, which have the same layers.",
        metavar="FILE|DEFAULT",
        rich_help_panel=NETWORK,
    ),
]
Classes: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="The number of classes. Left out: read off the file of weights.",
        metavar="N",
        min=1,
        rich_help_panel=NETWORK,
    ),
]
ModelArgs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--model-args",
        help="An argument for the function that builds the network, as in width=64; several times "
        "for several. Of a Lightning checkpoint, those that it keeps are passed by themselves.",
        metavar="NAME=VALUE",
        rich_help_panel=NETWORK,
    ),
]
Labels: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The classes' names: a text file with one a line, or JSON; or imagenet.",
        metavar="FILE|imagenet",
        rich_help_panel=NETWORK,
    ),
]
TrustPickle: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Load a file of weights that runs code, if you trust whoever made it.",
        rich_help_panel=NETWORK,
    ),
]
Device: TypeAlias = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:1.", metavar="NAME", rich_help_panel=NETWORK)
]

Layers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="Dotted name or glob; several times for several. Left out: the last layer that "
        "still has space. 'gradcam-hooks layers' lists them.",
        metavar="NAME",
        rich_help_panel=WHAT,
    ),
]
TargetWord: TypeAlias = Annotated[
    str,
    typer.Option(
        help="predicted, a class number, a label, top:5, all; on, of a multi-label network; "
        "segment:LABEL; box, box:LABEL or box:X1,Y1,X2,Y2; binary or binary:negative; "
        "regression, regression:1 or regression:down; difference:THIS,THAT.",
        metavar="TARGET",
        rich_help_panel=WHAT,
    ),
]
AnyMethod: TypeAlias = Annotated[
    str | None,
    typer.Argument(help="One method, to be told all of it.", metavar="[NAME]"),
]
MethodNames: TypeAlias = Annotated[
    str,
    typer.Option(
        help="'gradcam-hooks methods' lists them; a formula of your own is file.py:function. "
        "Several, with commas between them, or all: a sheet of them side by side for each picture.",
        metavar="NAME[,NAME]|all",
        rich_help_panel=WHAT,
    ),
]
OneMethod: TypeAlias = Annotated[
    str,
    typer.Option(
        help="'gradcam-hooks methods' lists them; a formula of your own is file.py:function.",
        metavar="NAME",
        rich_help_panel=WHAT,
    ),
]
Trials: TypeAlias = Annotated[
    int,
    typer.Option(
        help="Pictures at most whose regions are covered and put onto others, for proof.",
        metavar="N",
        min=1,
        rich_help_panel=WHAT,
    ),
]
Boxes: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Where the objects are: a COCO .json, a Pascal VOC .xml, or a folder of these.",
        metavar="FILE|DIR",
        rich_help_panel=PICTURES,
    ),
]
Masks: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Where the objects are: a folder of PNGs that are named as the pictures.",
        metavar="DIR",
        rich_help_panel=PICTURES,
    ),
]
Agreement: TypeAlias = Annotated[
    int,
    typer.Option(
        help="Pictures at most on which up to three quick methods are asked as well, for how far "
        "their maps agree; 0 for none.",
        metavar="N",
        min=0,
        rich_help_panel=WHAT,
    ),
]
Seed: TypeAlias = Annotated[
    int, typer.Option(help="Of what is drawn by chance.", metavar="N", rich_help_panel=WHAT)
]
MethodOptions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="An option of the method, as in samples=50; several times for several. "
        "'gradcam-hooks methods NAME' tells them.",
        metavar="NAME=VALUE",
        rich_help_panel=WHAT,
    ),
]
MultiLabel: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--multi-label/--one-label",
        help="Each label is on or off by itself. Left out: as the network's configuration says.",
        rich_help_panel=NETWORK,
    ),
]
Fuse: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="How the maps of several layers become one; mean, where the method has no other way.",
        metavar="mean|max|product|tanh|lnorm",
        rich_help_panel=WHAT,
    ),
]
Checked: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Check each map: trust, doubt or do not trust, and why. Takes some 20 times as long.",
        rich_help_panel=WHAT,
    ),
]
OutputKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Which part of the network's output, by key or position. Left out: the logits.",
        metavar="KEY",
        rich_help_panel=WHAT,
    ),
]

ImageDir: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(help="Another way to name a folder.", metavar="DIR", rich_help_panel=PICTURES),
]
PreprocessName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Your own, from a PIL picture to a tensor: path/to/file.py:function, or what is "
        "called so there, such as a Compose. Left out: the network's own.",
        metavar="FILE:NAME",
        rich_help_panel=PICTURES,
    ),
]
Window: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Of a scan: the centre and width of the values that become 0 to 1, as in 40,400; what "
        "lies beyond is clipped. Left out: nothing is.",
        metavar="CENTER,WIDTH",
        rich_help_panel=PICTURES,
    ),
]
SliceNumber: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--slice",
        help="Of a scan: which slice a network of pictures is given. Left out: the one in the "
        "middle.",
        metavar="NUMBER",
        rich_help_panel=PICTURES,
    ),
]
FitName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="How a picture is made to fit the input. Left out: the network's own way.",
        metavar="squash|crop|letterbox",
        rich_help_panel=PICTURES,
    ),
]
Size: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The input in pixels, 224 or 192x256 (height x width), of a volume 32x96x96 voxels. "
        "Left out: the network's own.",
        metavar="SIZE",
        rich_help_panel=PICTURES,
    ),
]
Mean: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Subtracted from the pixels, which are in [0, 1]. Left out: the network's own.",
        metavar="R,G,B",
        rich_help_panel=PICTURES,
    ),
]
Std: TypeAlias = Annotated[
    str | None,
    typer.Option(help="What they are divided by then.", metavar="R,G,B", rich_help_panel=PICTURES),
]
MaxPixels: TypeAlias = Annotated[
    int,
    typer.Option(
        help="A picture with more pixels than that is not read, nor a file with more than 16 "
        "bytes for each of them.",
        metavar="N",
        min=1,
        rich_help_panel=PICTURES,
    ),
]
Truth: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The true classes: folders, where each picture lies in one named after its class, "
        "or a CSV file with the columns file and label.",
        metavar="folders|FILE.csv",
        rich_help_panel=PICTURES,
    ),
]
BatchSize: TypeAlias = Annotated[
    int,
    typer.Option(
        help="How many go through the network at once.",
        metavar="N",
        min=1,
        rich_help_panel=PICTURES,
    ),
]

Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Processes that read pictures ahead of the network; 0 for threads of this one. With "
        "--cluster, those that hold the network. Left out: as many as there is use for.",
        metavar="N",
        min=0,
        rich_help_panel=PICTURES,
    ),
]
Cluster: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Look at the pictures on the machines of a Ray cluster: the address of its head, or "
        "auto for the one that this machine is of, or this machine alone. It needs Ray.",
        metavar="auto|ADDRESS",
        rich_help_panel=PICTURES,
    ),
]

Out: TypeAlias = Annotated[
    Path,
    typer.Option(
        help="The folder for report.html, overlays and results.jsonl. A run with the same options "
        "goes on there; one with others gets a folder of its own in it, run-2, and latest.html "
        "opens the last report.",
        metavar="DIR",
        rich_help_panel=RESULTS,
    ),
]
AuditOut: TypeAlias = Annotated[
    Path,
    typer.Option(
        help="The folder for audit.html, audit.json and audit.csv. An audit with other options, "
        "or of another network, gets a folder of its own in it.",
        metavar="DIR",
        rich_help_panel=RESULTS,
    ),
]
DemoOut: TypeAlias = Annotated[
    Path, typer.Option(help="The folder for the pictures.", metavar="DIR")
]
Force: TypeAlias = Annotated[
    bool,
    typer.Option("--force", help="Do again what is done already.", rich_help_panel=RESULTS),
]

Host: TypeAlias = Annotated[
    str,
    typer.Option(
        help="The address to listen on. Left out, this machine alone can open the page; 0.0.0.0 "
        "lets everyone who reaches this machine open it.",
        metavar="ADDRESS",
        rich_help_panel=PAGE,
    ),
]
Examples: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        help="Pictures, or a folder of them, that the page offers; several times for several.",
        metavar="PATH",
        rich_help_panel=PAGE,
    ),
]
AllowHost: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="A name by which the page may be asked for, such as a proxy's; several times for "
        "several. Others are refused, or any page in your browser could use the network.",
        metavar="NAME",
        rich_help_panel=PAGE,
    ),
]
Port: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Left out: the first free one from 7860.",
        metavar="NUMBER",
        min=1,
        max=65535,
        rich_help_panel=PAGE,
    ),
]
