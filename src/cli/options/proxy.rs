//! Proxies of the environment, for commands that a person or a CI job runs. The operator ignores them.

use crate::api::Reason;
use crate::cli::output::complaint::Complaint;
use crate::registry::egress::Proxy;

/// This machine, which is never reached through a proxy of the environment: as in programs written in Go, such as
/// docker, oras and Helm.
const THIS_MACHINE: &str = "localhost,127.0.0.0/8,::1";

/// Returns the proxies of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, whose names may be in lower case too.
pub(super) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, Complaint> {
    let set = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| Some((name, variable(name).filter(|value| !value.trim().is_empty())?)))
    };
    let proxy = |names| set(names).map(|(name, value)| url(name, value.trim())).transpose();
    let https = proxy(["HTTPS_PROXY", "https_proxy"])?;
    // In a CGI program, HTTP_PROXY is the header `Proxy` of whoever sent the request (CVE-2016-5385).
    let is_cgi = variable("REQUEST_METHOD").is_some();
    let http = if is_cgi { None } else { proxy(["HTTP_PROXY", "http_proxy"])? };
    if https.is_none() && http.is_none() {
        return Ok(None);
    }
    let except = set(["NO_PROXY", "no_proxy"]).map(|(_, value)| format!("{value},{THIS_MACHINE}"));
    Ok(Some(Proxy { https, http, except: except.unwrap_or_else(|| THIS_MACHINE.to_owned()) }))
}

/// Returns the URL of a proxy; without a scheme it is `http`. The value may contain a password and is not quoted.
pub(super) fn url(name: &str, value: &str) -> Result<String, Complaint> {
    let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let is_valid = |url: url::Url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    if url::Url::parse(&url).is_ok_and(is_valid) {
        return Ok(url);
    }
    let problem = format!("{name} is not the URL of an HTTP proxy");
    let remedy = format!("Set {name} to a URL such as http://proxy.example:3128, or unset it.");
    Err(Complaint::new(Reason::InvalidSpec, problem).with_remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)]) -> Result<Option<Proxy>, Complaint> {
        of_environment(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn each_scheme_has_its_variable_and_this_machine_none() {
        let found = proxy(&[("HTTPS_PROXY", "http://p:1"), ("no_proxy", "corp.example")]).unwrap().unwrap();
        assert_eq!((found.https.as_deref(), found.http.as_deref()), (Some("http://p:1"), None));
        assert_eq!(found.except, format!("corp.example,{THIS_MACHINE}"));
        let found = proxy(&[("http_proxy", "u:hunter2@p:1"), ("HTTPS_PROXY", " ")]).unwrap().unwrap();
        assert_eq!((found.https.as_deref(), found.http.as_deref()), (None, Some("http://u:hunter2@p:1")));
        assert!(!format!("{found:?}").contains("hunter2"));
        let found = proxy(&[("HTTP_PROXY", "http://p:1"), ("HTTPS_PROXY", "http://q"), ("REQUEST_METHOD", "GET")]);
        assert_eq!(found.unwrap().unwrap().http, None);
        assert!(proxy(&[("NO_PROXY", "x"), ("ALL_PROXY", "http://p:1")]).unwrap().is_none());
    }

    #[test]
    fn an_unusable_proxy_is_named_and_not_quoted() {
        for value in ["socks5://u:hunter2@p:1", "http://", "http://u:hunter2@:1", "file:///hunter2"] {
            let complaint = proxy(&[("https_proxy", value)]).unwrap_err();
            let text = complaint.to_string();
            assert!(complaint.reason() == Reason::InvalidSpec && text.contains("https_proxy"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
