"""What is written on the rendered inputs. All of it is invented."""

ENGLISH = (
    "The harbour office opens at half past seven.", "Parcels may be collected until Friday, 18:45.",
    "Please keep this receipt for your records.", "Invoice no. 20417 is due on 14 March 2026.",
    "All prices include 20 % value added tax.", "Contact: office@northstar.example, ext. 312",
    "Order 3 x M8 bolts, 12 x washers, 1 x nut.", "Temperature 21.5 C, humidity 48 %, wind 3 m/s",
    "Room B-204 has been moved to building 7.", "A quick brown fox jumps over the lazy dog.",
    "Total weight: 1,248.75 kg (gross 1,302 kg)", "Departure 06:10, arrival 11:35, platform 9",
)  # fmt: skip
CHINESE = (
    "北京南站候车大厅位于二层，请提前三十分钟进站。", "本次会议将于三月十四日上午九点开始。",
    "请出示有效身份证件并保持安静。", "今天天气晴朗，最高气温二十五度。",
    "图书馆开放时间：周一至周五八点到二十二点。", "合同编号与发票金额必须一致。",
    "购买满两百元可享受免费送货服务。", "他们在河边种了许多柳树和桃树。",
)  # fmt: skip
MIXED = (
    ("品名 Item", "数量 Qty", "单价 Price", "合计 Sum"),
    ("绿茶 Green tea", "12", "38.50", "462.00"),
    ("笔记本 Notebook", "40", "6.80", "272.00"),
    ("打印机 Printer X200", "2", "1,299.00", "2,598.00"),
    ("网线 Cat 6 cable", "15", "9.90", "148.50"),
)
