"""Cards and wheels of a test, and a pip that brings the wheels."""

import hashlib
import io
import json
import sys
import zipfile

import yaml

from tests import fake_pip


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def leftovers(root):
    """Files of a store that are neither finished nor locks."""
    begun = (".fetch", ".model", ".old", ".compile")
    return [str(path) for path in root.rglob("*") if path.name.startswith(begun)]


class Shelf:
    """``cards`` and ``wheels`` are folders; ``does`` scripts pip, ``calls`` are its command lines."""

    def __init__(self, folder):
        self.cards, self.wheels = folder / "cards", folder / "wheels"
        self.cards.mkdir()
        self.wheels.mkdir()
        self.pip = [sys.executable, fake_pip.__file__, str(self.wheels)]
        self.does()

    def does(self, **script):
        (self.wheels / "script.json").write_text(json.dumps(script))

    @property
    def calls(self):
        path = self.wheels / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def wheel(self, pin, members):
        package, _, version = pin.partition("==")
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in members.items():
                archive.writestr(path, data)
        (self.wheels / f"{package}-{version}-py3-none-any.whl").write_bytes(raw.getvalue())

    def card(self, name, sources, **more):
        """``sources``: pin to {file: (path in the wheel, bytes that are pinned)}."""
        listed = [
            {
                "package": pin.partition("==")[0],
                "version": pin.partition("==")[2],
                "bytes": 1000,
                "members": {
                    file: {"path": path, "bytes": len(data), "sha256": sha256(data)}
                    for file, (path, data) in members.items()
                },
            }
            for pin, members in sources.items()
        ]
        inference = {"Global": {"model_name": name}, "PostProcess": {"name": "X"}}
        card = {"task": "t", "licence": "Apache-2.0", "wheels": listed, "inference": inference} | more
        (self.cards / f"{name}.yml").write_text(yaml.safe_dump(card))
