"""What stands in the documents of document chat and answers nothing (``chat_pages.py``)."""

TERMS = (
    "Goods remain the property of the seller until they are paid in full.",
    "Complaints about visible defects have to be made within eight days of delivery.",
    "Interest of one percent per month is charged on amounts that are overdue.",
    "Returns are accepted only in the packaging in which the goods were delivered.",
    "The carrier is liable for damage that is caused on the way to the customer.",
    "Please quote the number of this document with every payment and every letter.",
    "Prices include packaging; transport insurance is charged by the carrier.",
)
ZH_TERMS = (
    "货物在全部款项付清之前，其所有权仍归供货单位所有，收货单位不得抵押或者转让。",
    "对外观质量有异议的，应当在收货之后八日之内以书面形式提出，逾期视为验收合格。",
    "逾期未付的款项按照每月百分之一计收利息，直至全部欠款结清为止，不另行通知。",
    "退货必须保持原有包装完好，并附上本单据的复印件，运费由提出退货的一方承担。",
    "运输途中造成的损坏由承运单位负责赔偿，收货时请当场清点数量并检查外包装。",
    "汇款的时候请在附言之中注明本单据的编号，以便财务人员及时核对并入账处理。",
    "本单据所列价格已经包含包装费用，运输保险由承运单位另行收取，并单独开具凭证。",
)
THANKS = (
    "Thank you for shopping with us. Opening hours: weekdays from nine to seven.",
    "Goods can be exchanged within fourteen days if you bring this slip with you.",
    "Food, underwear and opened software are excluded from exchange and return.",
    "Join our club at the counter and collect points with every purchase you make.",
    "Ask for the winner of the monthly draw at the information desk near the door.",
    "We sort our waste. Please leave packaging that you do not need at the shop.",
    "Guide dogs are welcome in all our branches. Parking is free for two hours.",
)
ZH_THANKS = (
    "谢谢惠顾，欢迎再次光临。营业时间为每天上午九点至晚上九点，节假日照常营业。",
    "商品售出之后十四天之内可以凭本单据调换，请妥善保管，遗失不补，复印件无效。",
    "食品、内衣以及已经拆封的软件不予调换，特价商品以及赠品不参加本项服务。",
    "欢迎到服务台办理入会手续，每次购物均可累积积分，积分可以兑换指定的礼品。",
    "每月抽奖的结果请到一楼服务台查询，中奖者请携带身份证件前来领取奖品。",
    "本店实行垃圾分类，不需要的包装请留在店内的回收箱里，感谢您的理解和配合。",
    "导盲犬可以进入本店所有的营业区域，顾客凭本单据可以免费停车两个小时。",
)
CLAUSES = (
    "The supplier sells and the customer buys the equipment listed in the annex.",
    "Drawings and software stay the intellectual property of their owner.",
    "The equipment is packed so that it withstands transport by road and by sea.",
    "Risk passes to the customer when the goods are unloaded at the plant.",
    "The customer prepares foundations, power and compressed air in good time.",
    "Acceptance tests follow the protocol that both sides have agreed on.",
    "Small defects that do not hinder operation are no reason to refuse acceptance.",
    "The supplier trains four operators at the plant in the local language.",
    "Spare parts are kept available for ten years after the last machine was built.",
    "Neither side may assign rights from this agreement without written consent.",
    "Confidential information is disclosed to nobody who does not need to know it.",
    "Strikes, floods and acts of government suspend the duties of both sides.",
    "Notices are valid only in writing and are sent to the registered office.",
    "Changes of this agreement need the signatures of authorised persons.",
    "If a provision is void the others stay in force and the gap is closed fairly.",
    "Export licences are applied for by the supplier and paid by the customer.",
    "The annexes are part of the agreement; in case of conflict the text prevails.",
    "Both sides have received one signed original of this document each.",
)
ZH_CLAUSES = (
    "供货单位按照附件所列的规格型号提供全部设备，采购单位按照约定支付相应的款项。",
    "图纸、程序以及其他技术资料的知识产权归其原有权利人所有，不因本次交易而转移。",
    "设备的包装应当适合长途公路以及海上运输，并采取必要的防潮、防锈以及防震措施。",
    "设备在采购单位厂区卸车完毕之后，毁损以及灭失的风险由采购单位自行承担。",
    "采购单位应当按时准备好设备基础、电源以及压缩空气，并提供必要的起重工具。",
    "验收试验按照双方共同确认的技术方案进行，试验记录由双方的代表当场签字确认。",
    "不影响设备正常运行的轻微缺陷不构成拒绝验收的理由，但是应当在约定时间内消除。",
    "供货单位在现场免费培训四名操作人员，培训内容包括日常操作、保养以及故障排除。",
    "自最后一台设备停产之日起，供货单位保证在十年之内继续供应所需的备品备件。",
    "未经对方书面同意，任何一方均不得将本合同项下的权利以及义务转让给第三人。",
    "双方对于在履行过程之中知悉的商业秘密负有保密义务，不得向无关人员进行披露。",
    "因罢工、水灾以及政府行为等不可抗力造成的延误，双方互相不承担赔偿的责任。",
    "一切通知均应当采用书面形式，并且送达至对方在市场监督管理部门登记的住所。",
    "对本合同的任何修改以及补充，均须经双方授权代表签字并且加盖公章方可生效。",
    "部分条款无效的，不影响其余条款的效力，双方应当协商以合法的条款予以替代。",
    "出口许可由供货单位负责办理，由此产生的费用由采购单位承担并且及时予以支付。",
    "附件是本合同不可分割的组成部分，附件与正文不一致的，一律以正文的约定为准。",
    "本合同一式两份，双方各执一份，自双方签字盖章之日起生效，具有同等的法律效力。",
)
#: What contracts say inside of sentences.
FACTS = (
    "The contract price is {} and includes all taxes.",
    "The warranty period is {} from the day of acceptance.",
    "The party in default pays a penalty of {} of the price.",
    "The delivery time is {} from the day this contract takes effect.",
    "Disputes are settled in court; the place of arbitration is {}.",
    "The project manager named by the supplier is {}.",
)
ZH_FACTS = (
    "本合同总价为人民币{}，该价格包含税费。",
    "设备的质保期为{}，自验收合格之日起算。",
    "任何一方违约，违约金比例为合同价款的{}。",
    "交货期限为合同生效之后{}之内。",
    "因本合同发生的争议提交仲裁，仲裁地点为{}。",
    "乙方指定的项目负责人是{}，更换须经同意。",
)
