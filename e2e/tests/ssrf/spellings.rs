//! Spellings of addresses that must not be connected to.

/// Outcome of a spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Parsed as the address, which is denied.
    Denied,
    /// Not parsed as anything that can be connected to.
    Unreadable,
    /// A name, or parsed as a name, that does not exist.
    Unknown,
}

/// One spelling: the text, its outcome as the host of a reference, and as the host of a URL.
pub(crate) type Spelling = (&'static str, Fate, Fate);

use Fate::{Denied, Unknown, Unreadable};

/// Numbers in every form that a C library reads.
const NUMBERS: [Spelling; 33] = [
    ("169.254.169.254", Denied, Denied),
    ("127.0.0.1", Denied, Denied),
    ("0.0.0.0", Denied, Denied),
    ("100.100.100.200", Denied, Denied),
    ("192.168.77.1", Denied, Denied),
    ("172.16.0.1", Denied, Denied),
    ("10.78.0.1", Denied, Denied),
    ("127.255.255.254", Denied, Denied),
    ("224.0.0.1", Denied, Denied),
    ("255.255.255.255", Denied, Denied),
    ("2852039166", Denied, Denied),
    ("2130706433", Denied, Denied),
    ("0", Denied, Denied),
    ("0x0", Denied, Denied),
    ("017700000001", Denied, Denied),
    ("025177524776", Denied, Denied),
    ("0x7f000001", Denied, Denied),
    ("0xA9FEA9FE", Denied, Denied),
    ("0x7F.1", Denied, Denied),
    ("0177.1", Denied, Denied),
    ("127.1", Denied, Denied),
    ("127.0.1", Denied, Denied),
    ("169.254.43518", Denied, Denied),
    ("169.16689662", Denied, Denied),
    ("0251.0376.0251.0376", Denied, Denied),
    ("0xa9.0xfe.0xa9.0xfe", Denied, Denied),
    ("0xa9.254.0251.0xfe", Denied, Denied),
    ("00000177.0.0.1", Denied, Denied),
    ("127.0.0.1.", Unreadable, Denied),
    ("2852039166.", Unreadable, Denied),
    ("256.256.256.256", Unknown, Unreadable),
    ("4294967296", Unknown, Unreadable),
    ("127.0.0.0x1g", Unknown, Unknown),
];

const IPV6: [Spelling; 33] = [
    ("[::1]", Denied, Denied),
    ("[::]", Denied, Denied),
    ("[0:0:0:0:0:0:0:1]", Denied, Denied),
    ("[::ffff:169.254.169.254]", Denied, Denied),
    ("[::ffff:a9fe:a9fe]", Denied, Denied),
    ("[::FFFF:A9FE:A9FE]", Denied, Denied),
    ("[0:0:0:0:0:ffff:a9fe:a9fe]", Denied, Denied),
    ("[0000:0000:0000:0000:0000:ffff:169.254.169.254]", Denied, Denied),
    ("[::ffff:127.0.0.1]", Denied, Denied),
    ("[::ffff:192.168.77.1]", Denied, Denied),
    ("[::127.0.0.1]", Denied, Denied),
    ("[::a9fe:a9fe]", Denied, Denied),
    ("[64:ff9b::169.254.169.254]", Denied, Denied),
    ("[64:ff9b:1::a9fe:a9fe]", Denied, Denied),
    ("[2002:a9fe:a9fe::1]", Denied, Denied),
    ("[fd00:ec2::254]", Denied, Denied),
    ("[fd00:0ec2:0:0:0:0:0:0254]", Denied, Denied),
    ("[fd00:ec2::23]", Denied, Denied),
    ("[fd00:ec2::253]", Denied, Denied),
    ("[fd00:42::42]", Denied, Denied),
    ("[fd00:c1::a9fe:a9fe]", Denied, Denied),
    ("[fd20:ce::254]", Denied, Denied),
    ("[64:ff9b:1:a9fe:a9:fe01:203:405]", Denied, Denied),
    ("[64:ff9b:1::1.1.1.1]", Denied, Denied),
    ("[2001:0:5ef5:79fd:0:59d:5601:5601]", Denied, Denied),
    ("[::ffff:0:169.254.169.254]", Denied, Denied),
    ("[fd77::1]", Denied, Denied),
    ("[fe80::1]", Denied, Denied),
    ("[ff02::1]", Denied, Denied),
    ("[fe80::1%lo]", Unreadable, Unreadable),
    ("[fe80::1%25lo]", Unreadable, Unreadable),
    ("[::1%251]", Unreadable, Unreadable),
    ("[::ffff:169.254.169.254", Unreadable, Unreadable),
];

/// Names that the name server resolves, and texts that a URL parser reads differently from their appearance.
const TEXTS: [Spelling; 29] = [
    ("localhost", Denied, Denied),
    ("LOCALHOST", Denied, Denied),
    ("metadata.google.internal", Denied, Denied),
    ("METADATA.Google.Internal", Denied, Denied),
    ("metadata.google.internal.", Unreadable, Denied),
    ("kubernetes.default.svc", Denied, Denied),
    ("kubernetes.default.svc.", Unreadable, Denied),
    ("alias.test", Denied, Denied),
    ("alias-of-an-alias.test", Denied, Denied),
    ("mapped.test", Denied, Denied),
    ("six.test", Denied, Denied),
    ("zero.test", Denied, Denied),
    ("all-closed.test", Denied, Denied),
    ("nobody.test", Unknown, Unknown),
    // Digits and dots that are normalised to ASCII, as they are and percent-encoded.
    ("１２７.０.０.１", Unreadable, Unreadable),
    ("①②⑦.⓪.⓪.①", Unreadable, Unreadable),
    ("%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1", Unreadable, Denied),
    ("%E2%91%A0%E2%91%A1%E2%91%A6.0.0.1", Unreadable, Denied),
    ("127%E3%80%820%E3%80%820%E3%80%821", Unreadable, Denied),
    ("%31%36%39.254.169.254", Unreadable, Denied),
    ("169%2E254%2E169%2E254", Unreadable, Denied),
    ("loc%61lhost", Unreadable, Denied),
    ("loc%C2%ADalhost", Unreadable, Denied),
    // Texts in which parsers disagree on user and host.
    ("10.77.0.1:8080@169.254.169.254", Unreadable, Unreadable),
    ("@169.254.169.254", Unreadable, Denied),
    ("169.254.169.254\\@10.77.0.1", Unreadable, Denied),
    ("169.254.169.254#@10.77.0.1", Unreadable, Denied),
    ("169.254.169.254?@10.77.0.1", Unreadable, Denied),
    ("169.254.\t169.254", Unreadable, Denied),
];

/// Returns all spellings.
pub(crate) fn all() -> impl Iterator<Item = Spelling> {
    NUMBERS.into_iter().chain(IPV6).chain(TEXTS)
}
