//! Attribution of a request's outcome to the host or the account.

use super::*;

fn account(repository: &str, credential: Option<&str>) -> Account {
    let repository = repository.parse::<crate::oci::Reference>().unwrap().repository;
    let credential = credential.map(|text| Digest::of(text.as_bytes()));
    Account::new(credential.as_ref(), &TransportId::Tls(None), repository.api_host(), repository.path())
}

fn budget() -> RequestBudget {
    RequestBudget::new(100_000, Arc::default())
}

const LIMIT: RequestOutcome =
    RequestOutcome::Overloaded(PauseRequest { wanted: Some(LONG), is_limit: true, is_elsewhere: false });
const LONG: Duration = Duration::from_secs(3600);

async fn end(budget: &RequestBudget, account: &Account, ended: &RequestOutcome) -> Option<Duration> {
    budget.admit("https://r.example", "r.example", account).await.unwrap().ended(ended)
}

async fn is_open(budget: &RequestBudget, account: &Account) -> bool {
    budget.admit("https://r.example", "r.example", account).await.is_ok()
}

#[test]
fn accounts_differ_by_credential_transport_host_and_the_first_part_of_the_path() {
    let over = |transport| Account::new(None, &transport, "r.example", "team/app");
    let (plain, certificate) = (over(TransportId::PlainHttp), over(TransportId::Tls(Some(Digest::of(b"mine")))));
    let all = [
        account("r.example/team/app", None),
        account("r.example/team/app", Some("a")),
        account("r.example/team/app", Some("b")),
        account("r.example/other/app", None),
        account("s.example/team/app", None),
        plain,
        certificate,
    ];
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(account("r.example/team/app", None), account("r.example/team/other", None));
}

#[tokio::test]
async fn failures_of_one_account_do_not_close_another() {
    let (mine, other) = (account("r.example/mine/app", Some("a")), account("r.example/other/app", Some("b")));
    let gone = || "it returned 502".to_owned();
    for ended in [LIMIT, RequestOutcome::NothingBehind(gone()), RequestOutcome::Unanswered(gone())] {
        let budget = budget();
        for _ in 0..5 {
            if is_open(&budget, &mine).await {
                end(&budget, &mine, &ended).await;
            }
        }
        assert!(!is_open(&budget, &mine).await, "{ended:?}");
        assert!(is_open(&budget, &other).await, "{ended:?}");
    }
}

#[tokio::test]
async fn an_unreachable_host_is_closed_for_every_account() {
    let (one, other) = (account("r.example/one/app", None), account("r.example/other/app", None));
    let budget = budget();
    for _ in 0..5 {
        end(&budget, &one, &RequestOutcome::Unreachable("connection refused".to_owned())).await;
    }
    let refused = budget.admit("https://r.example", "r.example", &other).await.map(drop);
    assert!(matches!(refused, Err(RegistryError::HeldBack { .. })), "{refused:?}");
    assert!(budget.admit("https://s.example", "s.example", &other).await.is_ok(), "another host");
}

#[tokio::test]
async fn the_limited_account_receives_the_length_of_the_pause() {
    let (budget, mine) = (budget(), account("r.example/mine/app", None));
    assert_eq!(end(&budget, &mine, &RequestOutcome::Answered).await, None);
    let left = end(&budget, &mine, &LIMIT).await.unwrap();
    assert!((3540..=3600).contains(&left.as_secs()), "{left:?}");
}

#[tokio::test]
async fn a_flood_of_closed_hosts_is_bounded_and_evicts_no_host_in_use() {
    let (budget, mine) = (budget(), account("r.example/mine/app", None));
    end(&budget, &mine, &LIMIT).await;
    for number in 0..20_000 {
        let origin = format!("https://{number}.evil.example");
        let permit = budget.admit(&origin, "evil.example", &account("evil.example/a/b", None)).await.unwrap();
        permit.ended(&LIMIT);
        if number % 1000 == 0 {
            assert!(!is_open(&budget, &mine).await, "forgotten after {number} others");
        }
    }
    let table = budget.lock();
    assert_eq!(table.entries.len(), MAX_ENTRIES);
    assert!(table.closed <= MAX_ENTRIES && table.closed > MAX_ENTRIES / 3, "{}", table.closed);
}

/// A probe that is given up while it waits for the host's pace has not been sent.
#[tokio::test]
async fn a_probe_of_an_account_that_is_given_up_while_it_waits_leaves_its_place() {
    let (budget, mine) = (RequestBudget::new(1, Arc::default()), account("r.example/mine/app", None));
    let key = |account| BudgetKey { origin: "https://r.example".to_owned(), account };
    let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    {
        let mut table = budget.lock();
        table.with(&key(Some(mine.clone())), |state| {
            (0..5).for_each(|_| state.record(long_ago, &Signal::Unreachable("it answered 502"), false));
        });
        // As after a restart with many objects.
        table.with(&key(None), |state| {
            for _ in 0..20 {
                let _ = state.wait(Instant::now(), budget.spacing, false);
            }
        });
    }
    for round in 0..2 {
        let mut probe = Box::pin(budget.admit("https://r.example", "r.example", &mine));
        assert!(futures::poll!(&mut probe).is_pending(), "round {round}: refused, and not only until a time");
    }
}
