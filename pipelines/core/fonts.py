"""The font of drawn pictures: where the model store gets it."""

from __future__ import annotations

import msgspec


class FontWheel(msgspec.Struct, frozen=True):
    """A font file inside a pinned wheel on PyPI, which is used as an archive and never installed.

    Attributes:
        package, version: as ``pip`` takes them.
        wheel_bytes: size of the wheel, for the progress bar.
        member: path of the font in the wheel; ``bytes`` and ``sha256`` are the font's.
        licence: SPDX name of the font's licence, from its ``name`` table.
    """

    package: str
    version: str
    wheel_bytes: int
    member: str
    bytes: int
    sha256: str
    licence: str


#: Noto Sans SC Regular 2.004: Latin, Greek, Cyrillic, kana, simplified and traditional Chinese. It has no
#: hangul and little of extended Latin (such characters are drawn as an empty box); the Noto font with all
#: of CJK is on PyPI only in a wheel of 85 MB.
CJK_FONT = FontWheel(
    package="zhplot",
    version="1.0.0",
    wheel_bytes=6_311_725,
    member="zhplot/fonts/NotoSansSC-Regular.ttf",
    bytes=10_560_616,
    sha256="5cf8b2a0576d5680284ab03a7a8219499d59bbe981a79bb3dc0031f251c39736",
    licence="OFL-1.1",
)
