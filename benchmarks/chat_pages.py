"""The labelled documents of document chat: 20 rendered invoices, receipts and contracts with their answers.

    python -m benchmarks.chat_pages FOLDER            write every document as a PDF, and its answers

Half are English, half Chinese. All names and numbers are made from a seed. Contracts have two pages, and say
what is asked for inside of sentences.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from .chat_words import CLAUSES, FACTS, TERMS, THANKS, ZH_CLAUSES, ZH_FACTS, ZH_TERMS, ZH_THANKS

_WIDTH, _HEIGHT, _MARGIN = 1000, 1400, 70
_INK, _PAPER = (25, 25, 30), (255, 255, 255)
_LETTERS, _STEP, _ROW = 22, 36, 40


class Paper(NamedTuple):
    """One document.

    Attributes:
        name: kind, language, number.
        pages: of each page its lines; a list of lists is a table.
        answers: key to value, as the document writes it.
    """

    name: str
    pages: list[list[str | list[list[str]]]]
    answers: dict[str, str]

    @property
    def lines(self) -> list[str]:
        """What is written, line by line; rows of tables are lines too."""
        found: list[str] = []
        for page in self.pages:
            for part in page:
                found += [part] if isinstance(part, str) else [" ".join(row) for row in part]
        return found


_FIRST = ("Northwind", "Harbour", "Lindgren", "Castell", "Ostermann", "Bluefield", "Marlow", "Quinta")
_SECOND = ("Traders", "Instruments", "Paper Mills", "Logistics", "Foods", "Robotics", "Glass Works")
_CITIES = ("Rotterdam", "Bristol", "Tampere", "Porto", "Gdansk", "Trieste")
_GOODS = ("Copper pipe", "Steel bracket", "Glass panel", "Valve kit", "Cable drum", "Filter set", "Oak board",
          "Pump housing", "Sensor unit", "Gear wheel")  # fmt: skip
_ZH_FIRST = ("恒达", "远航", "明德", "金桥", "瑞丰", "东岭", "海川", "嘉禾")
_ZH_SECOND = ("贸易有限公司", "仪器有限公司", "物流有限公司", "食品有限公司", "科技有限公司")
_ZH_CITIES = ("北京", "南京", "青岛", "成都", "厦门", "西安")
_ZH_GOODS = ("铜管", "钢支架", "玻璃板", "阀门组件", "电缆", "滤芯", "橡木板", "泵体", "传感器", "齿轮")
_NAMES, _FAMILIES = ("Anna", "Peter", "Maria", "Olaf"), ("Berg", "Costa", "Marsh", "Weiss")
_SURNAMES, _GIVEN = "王李张刘陈杨赵黄", "伟芳敏静强磊洋艳"


def papers() -> list[Paper]:
    """All 20, always the same."""
    makers = ((_invoice, 4), (_receipt, 3), (_contract, 3))
    return [
        make(f"{make.__name__[1:]}-{'zh' if han else 'en'}-{number}", han)
        for make, count in makers
        for han in (False, True)
        for number in range(count)
    ]


class _Dice:
    """Names and numbers of one document."""

    def __init__(self, seed: str, han: bool) -> None:
        self._dice, self._han = random.Random(seed), han

    def pick(self, *choices: str) -> str:
        return self._dice.choice(choices)

    def digits(self, count: int) -> str:
        return str(self._dice.randrange(10 ** (count - 1), 10**count))

    def companies(self) -> tuple[str, str]:
        first = self._dice.sample(_ZH_FIRST if self._han else _FIRST, 2)
        second = [self._dice.choice(_ZH_SECOND if self._han else _SECOND) for _ in first]
        if not self._han:
            return f"{first[0]} {second[0]}", f"{first[1]} {second[1]}"
        city = self._dice.sample(_ZH_CITIES, 2)
        return f"{city[0]}{first[0]}{second[0]}", f"{city[1]}{first[1]}{second[1]}"

    def date(self) -> str:
        year, month, day = 2024, self._dice.randint(1, 12), self._dice.randint(1, 28)
        return f"{year}年{month}月{day}日" if self._han else f"{year}-{month:02}-{day:02}"

    def person(self) -> str:
        if self._han:
            return self._dice.choice(_SURNAMES) + "".join(self._dice.sample(_GIVEN, 2))
        return f"{self.pick(*_NAMES)} {self.pick(*_FAMILIES)}"

    def goods(self, count: int) -> tuple[list[list[str]], int]:
        """Rows of name, amount, price and sum, and the total in cents."""
        rows, total = [], 0
        for name in self._dice.sample(_ZH_GOODS if self._han else _GOODS, count):
            amount, price = self._dice.randint(1, 40), self._dice.randint(150, 99_000)
            total += amount * price
            rows.append([name, str(amount), _money(price), _money(amount * price)])
        return rows, total


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def _invoice(name: str, han: bool) -> Paper:
    dice = _Dice(name, han)
    seller, buyer = dice.companies()
    rows, total = dice.goods(6)
    number, account = f"INV-{dice.digits(5)}", dice.digits(12)
    issued, due, contact = dice.date(), dice.date(), dice.person()
    values = (number, issued, seller, buyer, _money(total), due, account, contact)
    if han:
        keys = ("发票号码", "开票日期", "销售方", "购买方", "价税合计", "付款期限", "银行账号", "联系人")
        title, names, terms = "发票", ["货物名称", "数量", "单价", "金额"], ZH_TERMS
    else:
        keys = ("Invoice number", "Date of issue", "Seller", "Buyer",
                "Grand total", "Due date", "Bank account", "Contact")  # fmt: skip
        title, names, terms = "INVOICE", ["Item", "Quantity", "Price", "Amount"], TERMS
    answers = dict(zip(keys, values, strict=True))
    lines = _fields(answers, han)
    return Paper(name, [[title, *lines[:4], [names, *rows], *lines[4:], *terms]], answers)


def long_invoice() -> Paper:
    """An invoice of three pages, beside the 20: what is asked for stands on the first and the last."""
    name = "invoice-long"
    short, dice = _invoice("invoice-en-long", False), _Dice(name, False)
    names, goods = ["Item", "Quantity", "Price", "Amount"], [dice.goods(10)[0] for _ in range(2)]
    lines = _fields(short.answers, False)
    first = [short.pages[0][0], *lines[:4], [names, *goods[0]], "Continued on page 2"]
    second = ["Page 2", [names, *goods[1]], "Continued on page 3"]
    return Paper(name, [first, second, ["Page 3", *lines[4:], *TERMS]], short.answers)


def _fields(answers: dict[str, str], han: bool) -> list[str]:
    return [f"{key}{'：' if han else ': '}{value}" for key, value in answers.items()]


def _receipt(name: str, han: bool) -> Paper:
    dice = _Dice(name, han)
    shop, _ = dice.companies()
    rows, total = dice.goods(5)
    number, cashier, bought = dice.digits(7), dice.person(), dice.date()
    paid = (total // 10_000 + 1) * 10_000
    values = (shop, number, bought, cashier, _money(total), _money(paid), _money(paid - total))
    if han:
        keys = ("商户名称", "小票号", "交易日期", "收银员", "合计", "实收", "找零")
        title, thanks = "购物小票", ZH_THANKS
    else:
        keys = ("Store", "Receipt no", "Date", "Cashier", "Total", "Cash", "Change")
        title, thanks = "RECEIPT", THANKS
    answers = dict(zip(keys, values, strict=True))
    lines = _fields(answers, han)
    return Paper(name, [[title, *lines[:4], *("  ".join(row) for row in rows), *lines[4:], *thanks]], answers)


def _contract(name: str, han: bool) -> Paper:
    dice = _Dice(name, han)
    first, second = dice.companies()
    number, signed, price = f"HT-{dice.digits(6)}", dice.date(), dice.digits(6)
    months, share, days = dice.digits(2), dice.pick("3", "5", "8"), dice.pick("15", "20", "45")
    city, lead = dice.pick(*(_ZH_CITIES if han else _CITIES)), dice.person()
    plain = (number, first, second, signed)
    if han:
        keys = (
            "合同编号",
            "甲方",
            "乙方",
            "签订日期",
            "合同总价",
            "质保期",
            "违约金比例",
            "交货期限",
            "仲裁地点",
            "项目负责人",
        )
        values = (*plain, f"{price}元", f"{months}个月", f"{share}%", f"{days}日", city, lead)
        title, numbered, clauses, forms = "设备采购合同", "第{}条 {}", ZH_CLAUSES, ZH_FACTS
    else:
        keys = ("Contract number", "Party A", "Party B", "Date of signing", "Contract price",
                "Warranty period", "Penalty", "Delivery time", "Place of arbitration",
                "Project manager")  # fmt: skip
        values = (*plain, f"{price} EUR", f"{months} months", f"{share} percent", f"{days} days", city, lead)
        title, numbered, clauses, forms = "PURCHASE CONTRACT", "{}. {}", CLAUSES, FACTS
    answers = dict(zip(keys, values, strict=True))
    facts = [form.format(value) for form, value in zip(forms, values[4:], strict=True)]
    body = [numbered.format(place, text) for place, text in enumerate(_mixed(facts, clauses), 1)]
    half = len(body) // 2
    head = [title, *_fields(answers, han)[:4]]
    return Paper(name, [[*head, *body[:half]], list(body[half:])], answers)


def _mixed(facts: Sequence[str], clauses: Sequence[str]) -> Iterator[str]:
    """The facts, with clauses that answer nothing between them."""
    each = -(-len(clauses) // len(facts))
    for place, fact in enumerate(facts):
        yield from clauses[place * each : (place + 1) * each]
        yield fact


# --- drawing


def draw(paper: Paper, font_path: str) -> list[Image.Image]:
    """A document's pages, RGB."""
    font = ImageFont.truetype(font_path, _LETTERS)
    return [_page(parts, font) for parts in paper.pages]


def pdf(paper: Paper, font_path: str) -> bytes:
    """A document as a PDF of pictures, which the server renders at the size they were drawn in."""
    first, *others = draw(paper, font_path)
    out = io.BytesIO()
    first.save(out, "PDF", save_all=True, append_images=others, resolution=144.0)
    return out.getvalue()


def _page(parts: list[str | list[list[str]]], font: ImageFont.FreeTypeFont) -> Image.Image:
    page = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    pen, top = ImageDraw.Draw(page), _MARGIN
    for part in parts:
        if isinstance(part, str):
            pen.text((_MARGIN, top), part, _INK, font)
            top += _STEP
        else:
            top = _table(pen, part, top + 10, font)
    assert top < _HEIGHT, "the page is full"
    return page


def _table(pen: ImageDraw.ImageDraw, rows: list[list[str]], top: int, font: ImageFont.FreeTypeFont) -> int:
    """Draw a ruled table; gives where it ends."""
    lefts = [_MARGIN + 215 * column for column in range(len(rows[0]) + 1)]
    bottom = top + _ROW * len(rows)
    for row, cells in enumerate(rows):
        for left, text in zip(lefts, cells, strict=False):
            pen.text((left + 10, top + _ROW * row + 6), text, _INK, font)
    for row in range(len(rows) + 1):
        pen.line((lefts[0], top + _ROW * row, lefts[-1], top + _ROW * row), _INK, 2)
    for left in lefts:
        pen.line((left, top, left, bottom), _INK, 2)
    return bottom + 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    from . import peers

    folder.mkdir(parents=True, exist_ok=True)
    for paper in (*papers(), long_invoice()):
        (folder / f"{paper.name}.pdf").write_bytes(pdf(paper, peers.font()))
        (folder / f"{paper.name}.json").write_text(json.dumps(paper.answers, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
