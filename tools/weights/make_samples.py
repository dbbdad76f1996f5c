"""Sample inputs for trying every pipeline by hand, from data that wheels ship and from rendering.

Needs scikit-image 0.26.0, scikit-learn 1.9.1, opencv, pandas, Pillow, tifffile. Sources: the wheels
stardist 0.9.2, statsmodels 0.15.0 and aeon 1.6.0. The brick crops come from brick_anomaly.py --samples.
"""

import argparse
import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import skimage.data
import sklearn.datasets
import tifffile
from common import read_member
from PIL import Image, ImageDraw, ImageFont

SKIMAGE = ("chelsea.png", "coffee.png", "camera.png", "astronaut.png", "rocket.jpg", "page.png")
SKLEARN = ("china.jpg", "flower.jpg")
INVOICE = [
    ("Item", "Quantity", "Unit price", "Total"),
    ("Steel bracket 40 mm", "12", "3.20", "38.40"),
    ("Oak shelf 80 cm", "4", "18.50", "74.00"),
    ("Wall screw 5x60", "100", "0.09", "9.00"),
    ("Paint, white, 2 l", "3", "21.75", "65.25"),
    ("Brush 50 mm", "6", "4.10", "24.60"),
]


def photos(out):
    for folder, names in (
        (skimage.data.__file__, SKIMAGE),
        (str(Path(sklearn.datasets.__file__).parent / "images" / "_"), SKLEARN),
    ):
        for n in names:
            shutil.copyfile(Path(folder).parent / n, out / n)


def montage(out):
    """Many small objects on one 1280x960 canvas; returns the placement [(name, x, y, w, h)]."""
    rng, canvas, placed = np.random.RandomState(0), np.full((960, 1280, 3), 190, "uint8"), []
    images = {n: cv2.imread(str(out / f"{n}.png")) for n in ("astronaut", "camera", "chelsea", "coffee")}
    for k in range(24):
        name = list(images)[k % 4]
        h = rng.randint(90, 150)
        w = round(images[name].shape[1] * h / images[name].shape[0])
        x, y = 20 + (k % 6) * 210 + rng.randint(0, 20), 20 + (k // 6) * 235 + rng.randint(0, 80)
        w = min(w, 1280 - x)
        canvas[y : y + h, x : x + w] = cv2.resize(images[name], (w, h), interpolation=cv2.INTER_AREA)
        placed.append((name, x, y, w, h))
    cv2.imwrite(str(out / "small_objects_montage.jpg"), canvas, [cv2.IMWRITE_JPEG_QUALITY, 92])
    pd.DataFrame(placed, columns=["image", "x", "y", "w", "h"]).to_csv(
        out / "small_objects_montage.csv", index=False
    )


def nuclei(out, wheel):
    image, labels = (
        tifffile.imread(io.BytesIO(read_member(wheel, f"stardist/data/images/{n}2d.tif")))
        for n in ("img", "mask")
    )
    gray = np.clip(image / np.percentile(image, 99.8), 0, 1)
    for y in (0, 176, 352):  # test columns, not trained on
        cv2.imwrite(
            str(out / f"nuclei_test_{y}.png"), np.rint(gray[y : y + 160, 352:512] * 255).astype("uint8")
        )
        cv2.imwrite(str(out / f"nuclei_test_{y}_labels.png"), labels[y : y + 160, 352:512].astype("uint16"))


def font(size):
    return ImageFont.load_default(size)


def draw_table(draw, x, y, widths, height, rows, size=22, lines=True):
    for r, row in enumerate(rows):
        cx = x
        for text, w in zip(row, widths, strict=True):
            if lines:
                draw.rectangle([cx, y + r * height, cx + w, y + (r + 1) * height], outline="black", width=2)
            draw.text((cx + 12, y + r * height + (height - size) // 2), text, "black", font(size))
            cx += w


def table(out):
    page = Image.new("RGB", (900, 420), "white")
    draw_table(ImageDraw.Draw(page), 40, 40, (320, 150, 170, 160), 54, INVOICE)
    page.save(out / "table_bordered.png", optimize=True)


def invoice(number, page=1, pages=1):
    im = Image.new("RGB", (1240, 1754), "white")
    d = ImageDraw.Draw(im)
    d.text((90, 90), "NORTHGATE SUPPLIES LTD", "black", font(44))
    d.text((90, 150), "14 Harbour Road, Bristol BS1 6XN", "black", font(24))
    d.text((860, 90), "INVOICE", "black", font(52))
    for i, (k, v) in enumerate(
        (
            ("Invoice no.", number),
            ("Date", "2026-03-14"),
            ("Due", "2026-04-13"),
            ("Page", f"{page} of {pages}"),
        )
    ):
        d.text((860, 170 + 40 * i), k, "black", font(24))
        d.text((1010, 170 + 40 * i), v, "black", font(24))
    d.text((90, 300), "Bill to:", "black", font(26))
    for i, t in enumerate(("Marta Jensen", "Jensen Joinery", "Kanalgade 9, 8000 Aarhus")):
        d.text((90, 340 + 36 * i), t, "black", font(24))
    draw_table(d, 90, 540, (460, 180, 210, 210), 60, INVOICE, 24)
    for i, (k, v) in enumerate((("Subtotal", "211.25"), ("VAT 20 %", "42.25"), ("Total due", "253.50 GBP"))):
        d.text((790, 960 + 48 * i), k, "black", font(28))
        d.text((960, 960 + 48 * i), v, "black", font(28))
    text = (
        "Payment within thirty days of receipt to the account named below.",
        "IBAN GB00 TEST 0000 0000 0000 00, reference " + number + ".",
        "Goods remain the property of the seller until paid in full.",
    )
    for i, t in enumerate(text):
        d.text((90, 1180 + 40 * i), t, "black", font(24))
    return im


def documents(out):
    invoice("NS-20417").save(out / "invoice_page.png", optimize=True)
    pages = [invoice(f"NS-{20417 + k}", k + 1, 3) for k in range(3)]
    pages[0].save(
        out / "invoices_3_pages.pdf", save_all=True, append_images=pages[1:], resolution=150, quality=85
    )


def series(out, statsmodels, aeon):
    co2 = pd.read_csv(io.BytesIO(read_member(statsmodels, "statsmodels/datasets/co2/co2.csv")))
    dates = pd.to_datetime(co2["date"].astype(str), format="%Y%m%d")
    pd.DataFrame({"date": dates.dt.strftime("%Y-%m-%d"), "co2": co2["co2"].interpolate()}).to_csv(
        out / "ts_co2.csv", index=False, float_format="%.4f"
    )
    test = pd.read_csv(
        io.BytesIO(
            read_member(aeon, "aeon/datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_TEST.csv")
        )
    )
    test[["timestamp", "value"]].to_csv(out / "ts_ucr135_full.csv", index=False)
    test[["timestamp", "value"]].iloc[4130:4230].to_csv(
        out / "ts_ucr135_anomaly.csv", index=False
    )  # labelled: 4187..4198
    test[["timestamp", "value"]].iloc[3000:3100].to_csv(out / "ts_ucr135_normal.csv", index=False)
    lines = read_member(aeon, "aeon/datasets/data/BasicMotions/BasicMotions_TEST.ts").decode(errors="ignore")
    seen = set()
    for line in lines[lines.lower().index("@data") + 5 :].strip().split("\n"):
        *channels, name = line.strip().split(":")
        if name not in seen:
            seen.add(name)
            frame = pd.DataFrame({f"dim_{i}": c.split(",") for i, c in enumerate(channels)})
            frame.insert(0, "time", range(len(frame)))
            frame.to_csv(out / f"ts_basicmotions_{name.lower()}.csv", index=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("stardist", "statsmodels", "aeon"):
        parser.add_argument("--" + name, required=True, help=f"{name} .whl")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    photos(args.out)
    montage(args.out)
    nuclei(args.out, args.stardist)
    table(args.out)
    documents(args.out)
    series(args.out, args.statsmodels, args.aeon)


if __name__ == "__main__":
    main()
