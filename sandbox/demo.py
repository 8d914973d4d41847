"""The accounts a first start finds: three shops of Acme, one of somebody else, and more for benchmarks."""

from __future__ import annotations

from sandbox.state.account import Account
from sandbox.state.world import World

SINGLE = "single_opt_in"
DOUBLE = "double_opt_in"

_ACCOUNTS = (
    ("ACCTSE", "Acme SE", SINGLE),
    ("ACCTNO", "Acme NO", SINGLE),
    ("ACCTDE", "Acme DE", DOUBLE),
    ("ACCTDK", "Other DK", SINGLE),
)
PEOPLE = [
    "ada",
    "alma",
    "anders",
    "anna",
    "arvid",
    "astrid",
    "axel",
    "bea",
    "bjorn",
    "clara",
    "dag",
    "edith",
    "elias",
    "elin",
    "ella",
    "emil",
    "erik",
    "eva",
    "freja",
    "frida",
    "greta",
    "gustav",
    "hanna",
    "hugo",
    "ida",
    "ingrid",
    "isak",
    "jens",
    "johan",
    "karin",
    "lars",
    "leo",
    "lina",
    "maja",
    "nils",
    "olle",
    "petra",
    "saga",
    "sven",
    "tove",
]
_LISTS = (
    ("Newsletter", SINGLE),
    ("Program members", SINGLE),
    ("Newsletter (confirmed)", DOUBLE),
    ("Early access", DOUBLE),
    ("VIP customers", SINGLE),
    ("Birthday club", SINGLE),
    ("Back in stock", SINGLE),
    ("Reviewers", SINGLE),
    ("Creators", DOUBLE),
    ("Referral friends", SINGLE),
    ("Winter sale", SINGLE),
    ("Summer sale", SINGLE),
    ("Store opening", SINGLE),
    ("Competition", DOUBLE),
    ("Product testers", SINGLE),
    ("Wholesale", SINGLE),
    ("Staff", SINGLE),
    ("Press", SINGLE),
    ("Abandoned cart", SINGLE),
    ("Gift cards", SINGLE),
    ("Loyalty bronze", SINGLE),
    ("Loyalty silver", SINGLE),
    ("Loyalty gold", SINGLE),
    ("Surveys", DOUBLE),
    ("Sustainability", SINGLE),
    ("Workshops", SINGLE),
)
_ONLY_ACME = frozenset({"ada"})


def seed(world: World) -> None:
    """Add the demo's accounts and the extra ones, those that are not there yet."""
    if world.options.seed_demo:
        for account_id, name, opt_in in _ACCOUNTS:
            if account_id not in world.accounts:
                _fill(world.add_account(account_id, name, opt_in))
    for number in range(1, world.options.extra_accounts + 1):
        account_id = f"AC{number:04d}"
        if account_id not in world.accounts:
            account = world.add_account(account_id, f"Bench {number:04d}", SINGLE)
            account.create_list("Newsletter", SINGLE)


def _fill(account: Account) -> None:
    for name, opt_in in _LISTS:
        account.create_list(name, opt_in)
    newsletter = next(iter(account.lists.values()))
    for place, person in enumerate(PEOPLE):
        if person in _ONLY_ACME and not account.record.name.startswith("Acme"):
            continue
        profile = account.create_profile(email=f"{person}@example.com")
        profile.attributes["first_name"] = person.capitalize()
        if place % 4 == 1:
            account.set_state(profile, "SUBSCRIBED")
            profile.consent.at = profile.consent.updated = profile.created
            profile.consent.method = "SIGNUP_FORM"
            account.join(newsletter, profile.id)
