"""What buyers and merchants of pre-orders are told where they are refused; the table's third part.

Rows as in `problems_money`.
"""

from __future__ import annotations

PREORDER_PROBLEMS: dict[str, tuple[int, str, str] | tuple[int, str, str, int]] = {
    "not_a_preorder": (409, "Not a pre-order", "Only a pre-order has lots and promised dates."),
    "unknown_wave": (
        404,
        "Unknown wave",
        "No supply of this SKU with a ships_at of its own has this id.",
    ),
    "order_not_changeable": (
        409,
        "Not changeable",
        "The SKU can be changed while a deposit is paid and no unit is allocated yet.",
    ),
    "price_below_paid": (
        409,
        "Below what was paid",
        "The other SKU costs less than was paid already. Cancel and order it instead.",
    ),
}
