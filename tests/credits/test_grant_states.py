"""What a grant is said to be, before and after it expires."""

from __future__ import annotations

from datetime import timedelta

from solvent import Credits

from .conftest import Clock


async def state_of(credits: Credits, grant: str, *, as_of: object = None) -> str:
    grants = (await credits.grants("acme", as_of=as_of)).grants  # type: ignore[arg-type]
    return next(each.state for each in grants if each.id == grant)


async def test_a_grant_of_which_all_is_held_at_its_expiry_has_expired(credits: Credits, clock: Clock) -> None:
    ends = clock.now() + timedelta(hours=1)
    grant = await credits.grant("acme", 10, key="g", expires_at=ends)
    held = await credits.hold("acme", 4, key="h", ttl_s=7_200)
    other = await credits.hold("acme", 6, key="other", ttl_s=7_200)
    assert await state_of(credits, grant.id) == "active"
    before = clock.now()
    clock.advance(hours=1)
    assert await state_of(credits, grant.id) == "expired"
    assert (await credits.grants("acme", state="active")).grants == ()
    assert [each.id for each in (await credits.grants("acme", state="expired")).grants] == [grant.id]
    assert await state_of(credits, grant.id, as_of=before) == "active"
    assert await state_of(credits, grant.id, as_of=ends) == "expired"
    # What is held can still be captured; what comes back has expired.
    assert (await credits.capture("acme", held.id, 4)).amount == 4
    assert await state_of(credits, grant.id) == "expired"
    assert (await credits.release("acme", other.id)).lapsed == 6
    assert await state_of(credits, grant.id) == "expired"


async def test_a_grant_that_was_used_up_stays_depleted_past_its_expiry(credits: Credits, clock: Clock) -> None:
    grant = await credits.grant("acme", 10, key="g", expires_at=clock.now() + timedelta(hours=1))
    spent = await credits.debit("acme", 4, key="d")
    held = await credits.hold("acme", 6, key="h", ttl_s=7_200)
    clock.advance(hours=1)
    assert await state_of(credits, grant.id) == "expired"
    await credits.capture("acme", held.id, 6)
    assert await state_of(credits, grant.id) == "depleted", "nothing of it was lost"
    assert (await credits.reverse("acme", spent.id, key="r")).lapsed == 4
    assert await state_of(credits, grant.id) == "expired"
