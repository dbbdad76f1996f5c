"""Holds manifests to the models of KServe's own Python package: fields, kinds of values, what is required.

    make kserve        # in an environment of its own: the package brings what this one must not have

Its models accept fields that they do not know when they read a document, so they are walked here.
"""

import re
import sys
from pathlib import Path

import yaml
from kserve import models as kserve_models
from kubernetes import client as kubernetes_models

_LIST, _DICT = re.compile(r"list\[(.+)\]"), re.compile(r"dict[(\[]str, (.+)[)\]]")
_PLAIN = {"str": str, "bool": bool, "int": int, "float": (int, float)}


def problems(value, kind, where):
    """What in ``value`` is not of ``kind``, a type as the generated models name it."""
    if found := _LIST.fullmatch(kind):
        if not isinstance(value, list):
            return [f"{where} must be a list"]
        return [each for i, entry in enumerate(value) for each in problems(entry, found[1], f"{where}[{i}]")]
    if found := _DICT.fullmatch(kind):
        if not isinstance(value, dict):
            return [f"{where} must be a mapping"]
        return [each for key in value for each in problems(value[key], found[1], f"{where}.{key}")]
    if kind in _PLAIN:
        fits = isinstance(value, _PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))
        return [] if fits else [f"{where} must be {kind}, not {value!r}"]
    model = getattr(kserve_models, kind, None) or getattr(kubernetes_models, kind, None)
    return [] if model is None else _problems_of_model(value, model, where)


def _problems_of_model(value, model, where):
    if not isinstance(value, dict):
        return [f"{where} must be a mapping"]
    own = {wire: name for name, wire in model.attribute_map.items()}
    found = [f"{where}.{key} is no field of {model.__name__}" for key in value if key not in own]
    for key in value.keys() & own.keys():
        found += problems(value[key], model.openapi_types[own[key]], f"{where}.{key}")
    try:
        model(**{own[key]: value[key] for key in value.keys() & own.keys()})
    except ValueError as error:  # something required is missing
        found.append(f"{where}: {error}")
    return found


def check(document):
    """Problems of one manifest."""
    group, _, version = document["apiVersion"].partition("/")
    if group != "serving.kserve.io":
        return [f"{document['kind']} is not a kind of KServe"]
    return problems(document, version.capitalize() + document["kind"], document["kind"])


def main(folder):
    failed = False
    for file in sorted(Path(folder).rglob("*.yaml")):
        if file.name == "kustomization.yaml":
            continue
        document = yaml.safe_load(file.read_text())
        found = check(document)
        failed |= bool(found)
        print(f"{file}: {'; '.join(found) or 'good'}")
    broken = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "spec": {"container": []}}
    if not any("no field" in each for each in check(broken)):
        raise SystemExit("a planted mistake was not found")
    raise SystemExit(failed)


if __name__ == "__main__":
    main(sys.argv[1])
