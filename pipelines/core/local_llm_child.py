"""The process of the built-in language model: ``python local_llm_child.py MODEL.gguf THREADS``.

A line of JSON comes in on standard input for each question, and one goes out on standard output for each
answer. It ends when its input does, so it never outlives the worker that started it.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.path and sys.path[0] == __file__.rpartition("/")[0]:
    del sys.path[0]  # a script's own folder; its file names are not top-level modules

import contextlib
import json
import os
import queue
import threading
from typing import Any

#: Tokens of a question (the model knows 8,192 places); of an answer, for each key and at most.
MAX_QUESTION, PER_KEY, MAX_ANSWER = 7000, 64, 1000
#: Characters of a value.
_MAX_VALUE = 120
#: Vision goes first.
_NICE = 10


def _questions(waiting: queue.SimpleQueue[bytes]) -> None:
    """Runs in a thread: also while the model is busy, the end of the input is the end of the process."""
    for line in sys.stdin.buffer:
        waiting.put(line)
    os._exit(0)


def _answer(model: Any, genai: Any, question: dict[str, Any]) -> dict[str, Any]:
    tokenizer, keys = model.get_tokenizer(), question["keys"]
    prompt = tokenizer.apply_chat_template(question["messages"], add_generation_prompt=True)
    length = int(tokenizer.encode(prompt, add_special_tokens=False).input_ids.shape[1])
    if length > MAX_QUESTION:
        return {"too_long": length}
    config = genai.GenerationConfig()
    config.max_new_tokens = min(MAX_ANSWER, PER_KEY * (len(keys) + 1))
    config.do_sample, config.apply_chat_template = False, False
    # Left to itself, a model of this size does not even answer with JSON.
    config.structured_output_config = genai.StructuredOutputConfig(json_schema=json.dumps(_schema(keys)))
    return {"text": str(model.generate(prompt, config))}


def _schema(keys: list[str]) -> dict[str, Any]:
    value = {"type": "string", "maxLength": _MAX_VALUE}
    return {
        "type": "object",
        "properties": dict.fromkeys(keys, value),
        "required": keys,
        "additionalProperties": False,
    }


def main(path: str, threads: int) -> None:
    """Serve until the input ends."""
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # a batch process never pushes another from a core
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_questions, args=(waiting,), daemon=True).start()
    import openvino_genai as genai  # noqa: PLC0415 - takes seconds, and the input is watched meanwhile

    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False  # no question leaves a trace in the answer to the next
    scheduler.max_num_batched_tokens = MAX_QUESTION + MAX_ANSWER  # a question is read in one piece
    model = genai.LLMPipeline(path, "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=threads)
    while True:
        found = _answer(model, genai, json.loads(waiting.get()))
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
