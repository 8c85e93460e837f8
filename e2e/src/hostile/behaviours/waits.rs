//! `Retry-After` in every form. However often the registry wants to be asked, it is not asked in a hot loop; however
//! seldom, its object is not lost for ever.

use super::Pace::{EverySecond, Once};
use super::{Behaviour, Expected, LIMITED, Pace, UNAVAILABLE};
use crate::hostile::reply::Reply;

pub(super) fn behaviours() -> Vec<Behaviour> {
    let rows: [(&str, Expected, &'static str, Option<&'static str>, Pace); 16] = [
        ("retry-at-once", LIMITED, "429 Too Many Requests", Some("0"), EverySecond),
        ("retry-in-the-past", LIMITED, "429 Too Many Requests", Some("-1"), EverySecond),
        ("retry-in-three-years", LIMITED, "429 Too Many Requests", Some("99999999"), Once),
        ("retry-after-an-overflow", LIMITED, "429 Too Many Requests", Some("99999999999999999999999"), EverySecond),
        ("retry-after-a-fraction", LIMITED, "429 Too Many Requests", Some("1.5"), EverySecond),
        (
            "retry-after-a-past-date",
            LIMITED,
            "429 Too Many Requests",
            Some("Thu, 01 Jan 1970 00:00:00 GMT"),
            EverySecond,
        ),
        ("retry-after-a-far-date", LIMITED, "429 Too Many Requests", Some("Fri, 31 Dec 9999 23:59:59 GMT"), Once),
        ("retry-after-no-date", LIMITED, "429 Too Many Requests", Some("Fri, 99 Foo 2100 99:99:99 GMT"), EverySecond),
        ("retry-soon", LIMITED, "429 Too Many Requests", Some("soon"), EverySecond),
        ("retry-after-nothing", LIMITED, "429 Too Many Requests", Some(""), EverySecond),
        ("retry-without-a-word", LIMITED, "429 Too Many Requests", None, EverySecond),
        ("unavailable-at-once", LIMITED, "503 Service Unavailable", Some("0"), EverySecond),
        ("unavailable-for-three-years", LIMITED, "503 Service Unavailable", Some("99999999"), Once),
        (
            "unavailable-until-a-past-date",
            LIMITED,
            "503 Service Unavailable",
            Some("Thu, 01 Jan 1970 00:00:00 GMT"),
            EverySecond,
        ),
        ("unavailable-until-soon", LIMITED, "503 Service Unavailable", Some("soon"), EverySecond),
        ("unavailable-without-a-word", UNAVAILABLE, "503 Service Unavailable", None, EverySecond),
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
