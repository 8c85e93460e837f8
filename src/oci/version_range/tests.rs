use super::*;
use ParseVersionError as V;

fn version(text: &str) -> Version {
    LooseVersion::parse(text).unwrap().exact().unwrap()
}

fn check(rows: &[(&str, &str, bool)], prereleases: bool) {
    for (range, tested, want) in rows {
        let parsed: VersionRange = range.parse().unwrap_or_else(|error| panic!("{range}: {error}"));
        assert_eq!(parsed.matches(&version(tested), prereleases), *want, "\"{range}\" and {tested}");
        assert_eq!(parsed.to_string(), *range);
    }
}

#[test]
fn operators_and_spellings() {
    let rows = [
        ("2.4.6", "2.4.6", true),
        ("=2.4.6", "2.4.6", true),
        ("= v2.4.6", "2.4.6", true),
        ("2.4.6", "2.4.7", false),
        ("02.04.06", "2.4.6", true),
        ("!=2.4.6", "2.4.6", false),
        ("!=2.4.6", "2.4.5", true),
        (">2.4.6", "2.4.6", false),
        (">2.4.6", "2.4.7", true),
        (">=2.4.6", "2.4.6", true),
        ("=>2.4.6", "2.4.5", false),
        ("<2.4.6", "2.4.5", true),
        ("<2.4.6", "2.4.6", false),
        ("<=2.4.6", "2.4.6", true),
        ("=<2.4.6", "2.4.7", false),
        // Build metadata is ignored.
        ("2.4.6+linux", "2.4.6+arm", true),
        (">2.4.6+1", "2.4.6+2", false),
        ("!=2.4.6", "2.4.6+1", false),
        // Conjunction: a space, a comma, or both; spaces after an operator and line breaks change nothing.
        (">=1.5.0 <3.0.0", "2.9.9", true),
        (">=1.5.0 <3.0.0", "3.0.0", false),
        (">=1.5.0,<3.0.0", "1.4.9", false),
        (">= 1.5.0 , < 3.0.0", "1.5.0", true),
        ("\t>=1.5.0\n<3.0.0 ", "2.0.0", true),
        (">=1.5 <3 !=2.1.7", "2.1.7", false),
        ("1.5.0 1.5.0", "1.5.0", true),
        ("1.5 1.6", "1.5.3", false),
        // Disjunction.
        ("<1.5 || >=3", "1.4.9", true),
        ("<1.5||>=3", "2.0.0", false),
        ("1.5.x || 1.7.x || 1.9.x", "1.7.4", true),
        // The largest numbers.
        ("18446744073709551615.x", "18446744073709551615.1.0", true),
        (">=0.0.18446744073709551615", "0.1.0", true),
    ];
    check(&rows, false);
}

#[test]
fn versions_with_numbers_left_out() {
    let rows = [
        // Without an operator: all versions that begin with the given numbers. In Cargo, 2.4 would extend to 3.0.
        ("2", "2.9.1", true),
        ("2", "3.0.0", false),
        ("2.4", "2.4.9", true),
        ("2.4", "2.5.0", false),
        ("v2.4", "2.4.0", true),
        ("=2.4", "2.4.9", true),
        ("2.4.x", "2.4.9", true),
        ("2.x", "2.5.0", true),
        ("2.X.X", "1.9.9", false),
        ("2.*", "2.0.0", true),
        ("0.4", "0.4.1", true),
        ("0", "0.9.9", true),
        ("*", "7.1.4", true),
        ("x", "0.0.0", true),
        ("=*", "3.2.1", true),
        (">=*", "3.2.1", true),
        // Above and below all versions that begin with the given numbers.
        (">2", "2.9.9", false),
        (">2", "3.0.0", true),
        (">2.4", "2.4.9", false),
        (">2.4", "2.5.0", true),
        (">=2.4", "2.4.0", true),
        ("<2.4", "2.3.9", true),
        ("<2.4", "2.4.0", false),
        ("<=2.4", "2.4.9", true),
        ("<=2.4.x", "2.5.0", false),
        ("<=2", "2.9.9", true),
        ("!=2.4", "2.4.3", false),
        ("!=2.4", "2.5.3", true),
        ("!=2.x", "2.5.3", false),
        // Masterminds: only 0.0.x. Here a wildcard has no upper bound.
        ("<=*", "3.2.1", true),
    ];
    check(&rows, false);
}

#[test]
fn tilde_caret_and_hyphen() {
    let rows = [
        ("~2.4.6", "2.4.9", true),
        ("~2.4.6", "2.4.5", false),
        ("~2.4.6", "2.5.0", false),
        ("~> 2.4", "2.4.1", true),
        ("~2.4", "2.5.0", false),
        ("~2", "2.9.9", true),
        ("~2", "3.0.0", false),
        ("~0", "0.9.9", true),
        ("~0.0.0", "0.0.9", true),
        // Masterminds: any version, because it represents ~* in the same way.
        ("~0.0.0", "0.1.0", false),
        ("~*", "5.0.0", true),
        ("^2.4.6", "2.9.0", true),
        ("^2.4.6", "2.4.5", false),
        ("^2.4.6", "3.0.0", false),
        ("^2.4", "2.4.0", true),
        ("^2", "2.9.9", true),
        ("^2.x", "3.0.0", false),
        // Below 1.0, the first non-zero number is fixed.
        ("^0.4.6", "0.4.9", true),
        ("^0.4.6", "0.5.0", false),
        ("^0.4", "0.5.0", false),
        ("^0.0.6", "0.0.6", true),
        ("^0.0.6", "0.0.7", false),
        ("^0.0", "0.0.9", true),
        ("^0.0", "0.1.0", false),
        ("^0", "0.9.9", true),
        ("^0.x", "1.0.0", false),
        ("^0.0.0", "0.0.1", false),
        // Masterminds: only 0.0.0, contrary to its own documentation.
        ("^*", "5.0.0", true),
        ("1.5 - 2.4.6", "2.4.6", true),
        ("1.5 - 2.4.6", "2.4.7", false),
        ("1.5 - 2.4.6", "1.5.0", true),
        ("1.5.0 - 2.4", "2.4.9", true),
        ("v1 - v2", "2.9.9", true),
        ("1 - 2 || 4 - 5", "4.7.0", true),
        ("1 - 2, !=1.5.x", "1.5.2", false),
        // Masterminds rejects a hyphen range that only a space separates from the preceding comparator.
        ("!=1.5.x 1 - 2", "1.6.0", true),
        // Masterminds: matches nothing, because it reads <=* for the upper side.
        ("2 - *", "3.0.0", true),
    ];
    check(&rows, false);
}

#[test]
fn prereleases_match_if_a_comparator_of_the_group_has_a_prerelease() {
    let rows = [
        (">=2.0.0", "2.4.6-rc.1", false),
        ("*", "2.4.6-rc.1", false),
        ("2.4.x", "2.4.6-rc.1", false),
        ("!=2.4.6", "2.4.6-rc.1", false),
        ("2.4.6-rc.1", "2.4.6-rc.1", true),
        ("=2.4.6-rc.1", "2.4.6-rc.2", false),
        ("!=2.4.6-rc.1", "2.4.6-rc.2", true),
        (">=2.0.0-0", "2.4.6-rc.1", true),
        (">=2.0.0-0", "2.0.0-0", true),
        ("*-0", "2.4.6-rc.1", true),
        ("2.4.x-0", "2.4.0-alpha", true),
        ("2.4-0", "2.5.0-alpha", false),
        ("2.4.x-beta", "2.4.0-alpha", false),
        ("~2.4.6-beta", "2.4.6-rc.1", true),
        ("~2.4.6-beta", "2.4.6-alpha", false),
        ("^2.4-0", "2.9.0-rc.1", true),
        ("^2.4-0", "3.0.0-rc.1", false),
        ("^0.0.6-0", "0.0.6-rc.1", true),
        ("1.5-2.4.6", "1.5.0-2.4.7", true),
        ("1.0.0-0 - 2.0.0", "1.5.0-rc.1", true),
        // A comparator with a prerelease enables prereleases for its own group only.
        (">=2.0.0-0 <3.0.0", "2.4.6-rc.1", true),
        (">=2.0.0 <3.0.0-0", "2.4.6-rc.1", true),
        (">=5.0.0-0 || 2.x", "2.4.6-rc.1", false),
        (">=5.0.0-0 || 2.x", "5.0.0-rc.1", true),
        // 3.0.0-rc.1 is below 3.0.0.
        (">=2.0.0-0 <3.0.0", "3.0.0-rc.1", true),
        (">=2.0.0-0 <3.0.0-0", "3.0.0-rc.1", false),
        // Numbers are compared numerically, and are below words.
        (">=2.4.6-rc.10", "2.4.6-rc.9", false),
        (">=2.4.6-rc.10", "2.4.6-rc.x", true),
        // Masterminds compares numbers above 64 bits as words.
        (">=2.4.6-20000000000000000000", "2.4.6-100000000000000000000", true),
        // Masterminds: true. Here an excluded version stays excluded with its prereleases.
        ("!=2.4-0", "2.4.6-rc.1", false),
        ("!=2.4-0", "2.4.6", false),
    ];
    check(&rows, false);
}

#[test]
fn all_prereleases_match_if_enabled() {
    let rows = [
        (">=2.0.0", "2.4.6-rc.1", true),
        (">=2.4.6", "2.4.6-rc.1", false),
        ("*", "0.0.1-rc.1", true),
        // A wildcard means 0.0.0 and above.
        ("*", "0.0.0-rc.1", false),
        ("2.4.x", "2.4.6-rc.1", true),
        ("2.4.x", "2.4.0-rc.1", false),
        ("<3.0.0", "3.0.0-rc.1", true),
        ("<=2.4", "2.4.9-rc.1", true),
        ("<=2.4", "2.5.0-rc.1", false),
        (">2", "3.0.0-rc.1", true),
        ("^2", "3.0.0-rc.1", false),
        ("~2.4", "2.5.0-rc.1", false),
        ("!=2.4.6", "2.4.6-rc.1", true),
        // Masterminds: true for !=2.4, false for !=2. Both are excluded here.
        ("!=2.4", "2.4.6-rc.1", false),
        ("!=2", "2.4.6-rc.1", false),
    ];
    check(&rows, true);
}

#[test]
fn invalid_ranges_name_the_invalid_part() {
    use ParseRangeError as E;
    let is = |version: &str, reason| E::Version { version: version.to_owned(), reason };
    let rows = [
        ("", E::Missing(String::new())),
        (" \t", E::Missing(String::new())),
        ("1 ||", E::Missing(String::new())),
        (">=1 || <", E::Missing("<".to_owned())),
        (">=1,", E::Missing(String::new())),
        (">=1,,<2", E::Missing(",<2".to_owned())),
        ("> =1", E::Missing("> =1".to_owned())),
        (">==1", E::Operator(">==".to_owned())),
        ("==1", E::Operator("==".to_owned())),
        ("^^1", E::Operator("^^".to_owned())),
        ("1 | 2", E::Operator("|".to_owned())),
        ("1 && 2", E::Operator("&&".to_owned())),
        (">=1<2", E::Separator("<2".to_owned())),
        // Masterminds accepts this range, because its rewriting of the hyphen leaves a space.
        ("1 - 2<3", E::Separator("<3".to_owned())),
        (">=1 - 2", E::Hyphen("- 2".to_owned())),
        ("1 - >2", E::Hyphen("1 - >2".to_owned())),
        ("1 -", E::Hyphen("1 -".to_owned())),
        ("1 -2", E::Hyphen("1 -2".to_owned())),
        ("1 - 2 - 3", E::Hyphen("- 3".to_owned())),
        ("latest", is("latest", V::Shape)),
        ("1.2.3.4", is("1.2.3.4", V::Shape)),
        ("1.2.xx", is("1.2.xx", V::Shape)),
        ("V1", is("V1", V::Shape)),
        ("1 and 2", is("and", V::Shape)),
        (">\u{a0}1", is("\u{a0}1", V::Shape)),
        (">=1 <18446744073709551616", is("18446744073709551616", V::Number)),
        ("1.2.3-01", is("1.2.3-01", V::Prerelease)),
        (">=1.2-", is("1.2-", V::Prerelease)),
        ("1.2.3+", is("1.2.3+", V::Build)),
        // Masterminds ignores everything after a wildcard.
        ("1.x.3", is("1.x.3", V::AfterWildcard)),
        // Masterminds: everything above 0.0.0, nothing, and everything but 0.0.0.
        (">=1 >*", E::MatchesNothing(">*".to_owned())),
        ("<x, 1", E::MatchesNothing("<x".to_owned())),
        ("!=*", E::MatchesNothing("!=*".to_owned())),
    ];
    for (range, want) in rows {
        assert_eq!(range.parse::<VersionRange>(), Err(want), "{range}");
    }
    let long = "1".repeat(MAX_RANGE + 1);
    assert_eq!(long.parse::<VersionRange>(), Err(E::TooLong));
    let longest = format!("1{}", " ".repeat(MAX_RANGE - 1));
    assert!(longest.parse::<VersionRange>().is_ok());
}

#[test]
fn an_error_names_the_part_and_the_expected_form() {
    let error = ">=1.0 <2.0.y".parse::<VersionRange>().unwrap_err().to_string();
    assert!(error.contains("\"2.0.y\"") && error.contains("three numbers"), "{error}");
}
