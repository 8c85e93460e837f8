//! `Retry-After` in every form. A value in the past, too short or malformed must not shorten the operator's own
//! back-off; an excessive value must not end the retries of an object.

use super::Pace::{Limited, Once, Retries};
use super::{Behaviour, Expected, LIMITED, Pace, UNAVAILABLE};
use crate::hostile::reply::Reply;

pub(super) fn behaviours() -> Vec<Behaviour> {
    let rows: [(&str, Expected, &'static str, Option<&'static str>, Pace); 16] = [
        ("retry-at-once", LIMITED, "429 Too Many Requests", Some("0"), Limited),
        ("retry-in-the-past", LIMITED, "429 Too Many Requests", Some("-1"), Limited),
        ("retry-in-three-years", LIMITED, "429 Too Many Requests", Some("99999999"), Once),
        ("retry-after-an-overflow", LIMITED, "429 Too Many Requests", Some("99999999999999999999999"), Once),
        ("retry-after-a-fraction", LIMITED, "429 Too Many Requests", Some("1.5"), Limited),
        ("retry-after-a-past-date", LIMITED, "429 Too Many Requests", Some("Thu, 01 Jan 1970 00:00:00 GMT"), Limited),
        ("retry-after-a-far-date", LIMITED, "429 Too Many Requests", Some("Fri, 31 Dec 9999 23:59:59 GMT"), Once),
        ("retry-after-no-date", LIMITED, "429 Too Many Requests", Some("Fri, 99 Foo 2100 99:99:99 GMT"), Limited),
        ("retry-soon", LIMITED, "429 Too Many Requests", Some("soon"), Limited),
        ("retry-after-nothing", LIMITED, "429 Too Many Requests", Some(""), Limited),
        ("retry-without-a-word", LIMITED, "429 Too Many Requests", None, Limited),
        ("unavailable-at-once", UNAVAILABLE, "503 Service Unavailable", Some("0"), Retries),
        ("unavailable-for-three-years", LIMITED, "503 Service Unavailable", Some("99999999"), Once),
        (
            "unavailable-until-a-past-date",
            UNAVAILABLE,
            "503 Service Unavailable",
            Some("Thu, 01 Jan 1970 00:00:00 GMT"),
            Retries,
        ),
        ("unavailable-until-soon", UNAVAILABLE, "503 Service Unavailable", Some("soon"), Retries),
        ("unavailable-without-a-word", UNAVAILABLE, "503 Service Unavailable", None, Retries),
    ];
    let row = |(name, expected, status, after, pace): (&str, Expected, &'static str, Option<&'static str>, Pace)| {
        let headers: Vec<_> = after.map(|after| ("Retry-After", after)).into_iter().collect();
        Behaviour::http(name, expected, move |_, _| {
            let now = ("Date", "Sat, 21 Nov 2026 10:00:00 GMT");
            Reply::of(status, &[headers.as_slice(), &[now]].concat(), b"")
        })
        .asked(pace)
    };
    rows.into_iter().map(row).collect()
}
