"""ts_forecast_dlinear_co2, ts_anomaly_autoencoder_ucr135, ts_classification_basicmotions.

Trained in seconds on data that wheels ship, then exported.
Needs paddlepaddle 2.6.2, numpy < 2, pandas, scikit-learn, joblib, PyYAML.
Sources: statsmodels 0.15.0 wheel (forecast), aeon 1.6.0 wheel (the other two).
"""

import argparse
import io
import json
from pathlib import Path

import joblib
import numpy as np
import paddle
import paddle.nn.functional as F
import pandas as pd
from common import export, read_member, spec
from paddle import nn
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler


def save(net, out, inputs, config, scaler, columns):
    """Export with both forms of the scaler; ``inputs`` are tensor names and shapes without the batch."""
    config = {
        **config,
        "scale": True,
        "time_feat": False,
        "holiday": False,
        "input_data": {n: [-1, *s] for n, s in inputs},
    }
    export(net, out, [spec(n, [None, *s]) for n, s in inputs], config)
    joblib.dump(scaler, Path(out, "scaler.pkl"))
    numbers = {"columns": columns, "mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist()}
    Path(out, "scaler.json").write_text(json.dumps(numbers, indent=1))


def windows(a, length):
    return np.stack([a[i : i + length] for i in range(len(a) - length + 1)])


def fit(net, batches, epochs, optimizer, loss, schedule=None):
    for _ in range(epochs):
        for batch in batches():
            loss(net, *map(paddle.to_tensor, batch)).backward()
            optimizer.step()
            optimizer.clear_grad()
            if schedule is not None:
                schedule.step()


class DLinear(nn.Layer):
    """Linear forecast of moving-average trend and remainder."""

    def __init__(self, length, horizon, kernel=25):
        super().__init__()
        self.kernel = kernel
        self.trend, self.rest = nn.Linear(length, horizon), nn.Linear(length, horizon)
        for layer in (self.trend, self.rest):
            layer.weight.set_value(np.full((length, horizon), 1 / length, "float32"))

    def forward(self, past_target):
        x, p = past_target.transpose([0, 2, 1]), (self.kernel - 1) // 2
        padded = paddle.concat([x[:, :, :1].tile([1, 1, p]), x, x[:, :, -1:].tile([1, 1, p])], -1)
        trend = F.avg_pool1d(padded, self.kernel, 1, 0)
        return (self.trend(trend) + self.rest(x - trend)).transpose([0, 2, 1])


def forecast(wheel, out, length=104, horizon=52):
    """DLinear on 44 years of weekly CO2."""
    table = pd.read_csv(io.BytesIO(read_member(wheel, "statsmodels/datasets/co2/co2.csv")))
    v = table["co2"].interpolate().to_numpy("float32")[:, None]
    n, train_end, valid_end = len(v), int(len(v) * 0.7), int(len(v) * 0.8)
    scaler = StandardScaler().fit(v[:train_end])
    z = scaler.transform(v).astype("float32")
    train, test = (windows(part, length + horizon) for part in (z[:train_end], z[valid_end - length :]))
    x, y, xt, yt = train[:, :length], train[:, length:], test[:, :length], test[:, length:]
    net = DLinear(length, horizon)
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(3e-3, T_max=60 * (len(x) // 64))

    def batches():
        order = np.random.permutation(len(x))
        return ((x[q], y[q]) for q in (order[i : i + 64] for i in range(0, len(order) - 63, 64)))

    fit(
        net,
        batches,
        60,
        paddle.optimizer.Adam(schedule, parameters=net.parameters()),
        lambda m, a, b: F.mse_loss(m(a), b),
        schedule,
    )
    forecasts = {
        "DLinear": net(paddle.to_tensor(xt)).numpy(),
        "last value": np.repeat(xt[:, -1:], horizon, 1),
        "seasonal naive": xt[:, -52:][:, :horizon],
    }
    print(f"co2: {n} weeks, {len(xt)} test windows; mean absolute error, ppm:")
    for name, found in forecasts.items():
        print(f"  {name} {np.abs(found - yt).mean() * scaler.scale_[0]:.3f}")
    save(
        net,
        out,
        [("past_target", [length, 1])],
        {
            "Global": {"model_name": "DLinear"},
            "size": {"in_chunk_len": length, "out_chunk_len": horizon, "sampling_stride": 1},
            "info_params": {"time_col": "date", "target_cols": ["co2"], "freq": "7D"},
        },
        scaler,
        ["co2"],
    )


class AutoEncoder(nn.Layer):
    """A window through a narrow middle and back."""

    def __init__(self, length, channels, hidden=(48, 16)):
        super().__init__()
        d = length * channels
        self.shape = [-1, length, channels]
        self.net = nn.Sequential(
            nn.Linear(d, hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
            nn.Linear(hidden[1], hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], d),
        )

    def forward(self, observed_cov_numeric):
        return self.net(observed_cov_numeric.reshape([-1, self.shape[1] * self.shape[2]])).reshape(self.shape)


def anomaly(wheel, out, length=96):
    """An AutoEncoder on series 135 of the UCR anomaly archive."""
    base = "aeon/datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_"
    train, test = (pd.read_csv(io.BytesIO(read_member(wheel, f"{base}{p}.csv"))) for p in ("TRAIN", "TEST"))
    scaler = StandardScaler().fit(train[["value"]].to_numpy("float32"))
    z, zt = (scaler.transform(t[["value"]].to_numpy("float32")).astype("float32") for t in (train, test))
    label, cut = test["is_anomaly"].to_numpy(), int(len(z) * 0.85)
    x, xv, xt = windows(z[:cut], length), windows(z[cut:], length), windows(zt, length)
    net = AutoEncoder(length, 1)

    def batches():
        order = np.random.permutation(len(x))
        return ((x[order[i : i + 32]],) for i in range(0, len(order) - 31, 32))

    fit(
        net,
        batches,
        120,
        paddle.optimizer.Adam(1e-3, parameters=net.parameters()),
        lambda m, a: F.mse_loss(m(a), a),
    )

    def error(w):
        return ((net(paddle.to_tensor(w)).numpy() - w) ** 2).mean(-1)

    threshold = float(np.quantile(error(xv), 0.999) * 1.5)  # from the held-out end of the training part
    total, count = np.zeros(len(zt)), np.zeros(len(zt))
    for i, e in enumerate(error(xt)):
        total[i : i + length] += e
        count[i : i + length] += 1
    start = len(z)  # the test file repeats the training part at its beginning: not scored
    score, label = (total / count)[start:], label[start:]
    where, flag = np.flatnonzero(label), score >= threshold
    print(
        f"UCR 135: labelled {where[0] + start}..{where[-1] + start}, top score at {score.argmax() + start}, "
        f"point AUC {roc_auc_score(label, score):.3f}, threshold {threshold:.5f}, "
        f"flagged: anomalous {flag[label == 1].mean():.2f}, normal {flag[label == 0].mean():.4f}"
    )
    save(
        net,
        out,
        [("observed_cov_numeric", [length, 1])],
        {
            "Global": {"model_name": "AutoEncoder_ad"},
            "size": {"in_chunk_len": length},
            "model_threshold": threshold,
            "info_params": {"time_col": "timestamp", "feature_cols": ["value"], "freq": 1},
        },
        scaler,
        ["value"],
    )


def read_ts(text):
    """A .ts file of sktime or aeon to values [N,length,channels] and class names."""
    x, y = [], []
    for line in text[text.lower().index("@data") + 5 :].split("\n"):
        if line.strip():
            *channels, name = line.strip().split(":")
            x.append(np.array([[float(v) for v in c.split(",")] for c in channels], "float32").T)
            y.append(name)
    return np.stack(x), y


def conv_block(cin, cout, kernel):
    """A convolution of equal length, normalised."""
    return nn.Sequential(
        nn.Conv1D(cin, cout, kernel, padding=kernel // 2, bias_attr=False), nn.BatchNorm1D(cout), nn.ReLU()
    )


class Classifier(nn.Layer):
    """Three convolutions and the mean over time."""

    def __init__(self, channels, classes, hidden=48):
        super().__init__()
        self.conv = nn.Sequential(
            conv_block(channels, hidden, 7),
            conv_block(hidden, 2 * hidden, 5),
            conv_block(2 * hidden, hidden, 3),
        )
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(hidden, classes)

    def forward(self, features, pad_mask):
        x = self.conv((features * pad_mask.unsqueeze(-1)).transpose([0, 2, 1]))
        w = pad_mask.unsqueeze(1)
        return self.fc(self.drop((x * w).sum(-1) / w.sum(-1).clip(min=1.0)))


def classification(wheel, out, epochs=150, size=16):
    """A Classifier on the 40 training series of BasicMotions."""
    base = "aeon/datasets/data/BasicMotions/BasicMotions_"
    (x, y), (xt, yt) = (
        read_ts(read_member(wheel, f"{base}{p}.ts").decode(errors="ignore")) for p in ("TRAIN", "TEST")
    )
    names = sorted(set(y))
    y, yt = (np.array([names.index(c) for c in v]) for v in (y, yt))
    length, channels = x.shape[1:]
    scaler = StandardScaler().fit(x.reshape(-1, channels))
    x, xt = (scaler.transform(v.reshape(-1, channels)).reshape(v.shape).astype("float32") for v in (x, xt))
    net = Classifier(channels, len(names))
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(2e-3, epochs * (len(x) // size))

    def ones(n):
        return np.ones((n, length), "float32")

    def batches():
        net.train()
        order = np.random.permutation(len(x))
        for i in range(0, len(x) - size + 1, size):
            q = order[i : i + size]
            scale = np.random.uniform(0.8, 1.2, (size, 1, 1)).astype("float32")
            noise = np.random.randn(size, length, channels).astype("float32") * 0.05
            yield np.roll(x[q] * scale + noise, np.random.randint(-5, 6), 1), ones(size), y[q]

    fit(
        net,
        batches,
        epochs,
        paddle.optimizer.AdamW(schedule, parameters=net.parameters(), weight_decay=1e-3),
        lambda m, a, mask, c: F.cross_entropy(m(a, mask), c),
        schedule,
    )
    net.eval()
    p = net(paddle.to_tensor(xt), paddle.to_tensor(ones(len(xt)))).numpy()
    print(f"BasicMotions: {len(x)} train, {len(xt)} test, accuracy {(p.argmax(1) == yt).mean():.4f}")
    columns = [f"dim_{i}" for i in range(channels)]
    save(
        net,
        out,
        [("features", [length, channels]), ("pad_mask", [length])],
        {
            "Global": {"model_name": "TimesNet_cls"},
            "size": {"in_chunk_len": length},
            "label_names": names,
            "info_params": {"time_col": "time", "target_cols": columns, "freq": 1},
        },
        scaler,
        columns,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = {"forecast": forecast, "anomaly": anomaly, "classification": classification}
    parser.add_argument("task", choices=tasks)
    parser.add_argument("--wheel", required=True, help="statsmodels (forecast) or aeon .whl")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    paddle.seed(0)
    np.random.seed(0)
    tasks[args.task](args.wheel, args.out)


if __name__ == "__main__":
    main()
