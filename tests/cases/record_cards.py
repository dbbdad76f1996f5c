"""Records cards.json: what every card's model answers on ONNX Runtime. Run it after adding a card."""

import json
import sys

from pipelines.core.cards import card_names, load_card
from pipelines.core.models import ModelStore
from pipelines.engines.base import EngineOptions
from pipelines.engines.onnxruntime import ENGINE
from tests.contract.test_every_card import CASES, feeds_of


def main():
    lines = []
    for name in card_names():
        engine = ENGINE(ModelStore(None, sys.stderr).resolve(name), EngineOptions())
        results = engine.run(feeds_of(engine, load_card(name)[0].task))
        answer = [
            [result.size, *(float(f"{v:.6g}") for v in (result.mean(), result.std()))] for result in results
        ]
        lines.append(f"  {json.dumps(name)}: {json.dumps(answer)}")
        engine.close()
    (CASES / "cards.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
