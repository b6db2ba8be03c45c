"""The terms of a period: what a tenant pays or gets back beyond the price of each hour.

| module | holds |
|---|---|
| `fields`, `checks` | what a card says about terms, and what can be wrong with it |
| `account` | all terms of one period together, in their order |
| `fees` | flat fees: in arrears or in advance, whole or by days |
| `lines` | what one line owes beyond its hours: commitment true-up, minimum, a fee without usage |
| `card` | what the card charges or credits for all lines together: discounts, commitment, cap, minimum |
| `overage` | prices above a commitment |
| `opening` | what a period takes over from the one before: unused allowances, fees that were paid in advance |
| `rollover` | how much of an allowance goes on |
| `taxes` | tax lines of an invoice |
| `words` | the terms of a card in words, for people |
"""
