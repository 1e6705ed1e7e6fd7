from __future__ import annotations

from itertools import combinations

from lab.balancer.rules import COOKIE_KIND_MASK, COOKIE_MEMBER_MASK, Cookie, fixed_cookie, mac_cookie, member_cookie

ALL_ONES_48 = (1 << 48) - 1


def test_cookies_of_different_things_differ_and_fit() -> None:
    cookies = [
        fixed_cookie(),
        mac_cookie(Cookie.SOURCE, ALL_ONES_48),
        mac_cookie(Cookie.DESTINATION, ALL_ONES_48),
        *(member_cookie(kind, m, c) for kind in (Cookie.CONNECTION, Cookie.DIRECT) for m in (1, 4095) for c in (0, 7)),
    ]
    assert all(0 < cookie < 1 << 64 for cookie in cookies)
    assert all(a != b for a, b in combinations(cookies, 2))


def test_a_members_cookies_are_told_by_their_mask_whoever_the_client() -> None:
    wanted = member_cookie(Cookie.CONNECTION, 9)
    assert member_cookie(Cookie.CONNECTION, 9, ALL_ONES_48) & COOKIE_MEMBER_MASK == wanted
    for other in (member_cookie(Cookie.CONNECTION, 8, ALL_ONES_48), member_cookie(Cookie.DIRECT, 9, 1)):
        assert other & COOKIE_MEMBER_MASK != wanted


def test_kind_is_told_by_its_mask() -> None:
    for kind in Cookie:
        assert mac_cookie(kind, ALL_ONES_48) & COOKIE_KIND_MASK == kind << 60
