//! Running rows: their ports, and what was requested and stored.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use super::{Row, Shelf};
use crate::hostile::artifact::Artifact;
use crate::hostile::ask::Ask;
use crate::hostile::canary::Canary;
use crate::hostile::place::{Known, Place};
use crate::hostile::reply::Reply;
use crate::hostile::server::{Manner, Port, Server};
use crate::hostile::tls::{Authority, Certificate, Protocol};

/// Running row; dropping it closes its ports.
#[derive(Debug)]
pub struct Site {
    pub row: Row,
    pub place: Place,
    shelf: Arc<Mutex<Shelf>>,
    pub registry: Server,
    /// Servers of the other port and the other host.
    pub elsewhere: [Server; 2],
}

impl Site {
    /// Opens a row, whose registry holds this already.
    pub async fn open(row: Row, shelf: Shelf, authority: &Authority) -> Result<Self> {
        let port = Port::take("127.0.0.1:0").await?;
        let elsewhere = [Port::take("127.0.0.1:0").await?, Port::take("127.0.0.2:0").await?];
        let [other_port, other_host] = elsewhere.each_ref().map(|port| port.address.to_string());
        let login = Known { user: row.name.clone(), password: Canary::new(&row.name)? };
        let confidence = Canary::new(&format!("{}, in confidence", row.name))?;
        let artifact = Artifact::good(&row.name)?;
        let address = port.address.to_string();
        let place = Place { address, other_port, other_host, artifact, login, confidence };
        let shelf = Arc::new(Mutex::new(shelf));
        let early = {
            let (early, place, is_basic) = (Arc::clone(&row.early), place.clone(), row.is_basic);
            move |ask: &Ask| if is_basic && is_stranger(ask, &place) { None } else { early(ask, &place) }
        };
        let script = {
            let (row, place, shelf) = (row.clone(), place.clone(), Arc::clone(&shelf));
            move |ask: &Ask| {
                if row.is_basic && is_stranger(ask, &place) {
                    return Reply::of("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"e2e\"")], b"");
                }
                let mut shelf = lock(&shelf);
                (row.script)(ask, &place, &mut shelf).unwrap_or_else(|| shelf.answer(ask))
            }
        };
        let tls = row.has_tls.then(|| authority.acceptor(Certificate::Good, Protocol::Http1)).transpose()?;
        let registry = port.serve(Manner::Hasty(Arc::new(early), Arc::new(script)), tls);
        let elsewhere = elsewhere.map(|port| port.serve(Manner::Http(Arc::new(obliging)), None));
        Ok(Self { row, place, shelf, registry, elsewhere })
    }

    /// Returns what the registry stores.
    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }

    /// Returns all requests to the other port and the other host.
    pub fn asked_elsewhere(&self) -> Vec<Ask> {
        self.elsewhere.iter().flat_map(|server| server.seen.asks()).collect()
    }

    pub fn connections_elsewhere(&self) -> u64 {
        self.elsewhere.iter().map(|server| server.seen.connections()).sum()
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_stranger(ask: &Ask, place: &Place) -> bool {
    ask.header("authorization") != Some(&*place.login.basic())
}

/// Answers every request to the other port or host with success, so that a forbidden request there has an effect.
fn obliging(ask: &Ask) -> Reply {
    let cookie = ("Set-Cookie", "elsewhere=1");
    match ask.method.as_str() {
        _ if ask.target.starts_with("/token") => {
            Reply::of("200 OK", &[("Content-Type", "application/json")], br#"{"token":"from-elsewhere"}"#)
        }
        "POST" | "PATCH" => Reply::of("202 Accepted", &[("Location", "/next"), cookie], b""),
        "PUT" => Reply::of("201 Created", &[("Location", "/blob"), cookie], b""),
        _ => Reply::of("200 OK", &[cookie], b"other bytes"),
    }
}
