"""Parameters of a PIR export (inference.json) as .npz, parameter name to array, for nuclei.py --params.

Needs paddlepaddle 3.3.1.
"""

import argparse

import numpy as np
import paddle


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="path prefix of inference.json and .pdiparams")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    values = paddle.jit.load(args.model).state_dict().values()
    named = [value for value in values if not value.name.startswith("generated_tensor")]
    parameters = {value.name.removesuffix("_0"): value.numpy() for value in named}
    np.savez(args.out, **parameters)
    print(len(parameters), "parameters")


if __name__ == "__main__":
    main()
