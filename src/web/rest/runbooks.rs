//! `/runbooks`: what to do about a condition or an alert, from this version's document.

use crate::web::shared::{
    HttpError,
    query::{twice, unknown},
};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

/// All runbooks; each is a section under its name.
const RUNBOOKS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks.md"));

/// `GET /runbooks`: all of them, or with `?name=feed_down` that of the condition or alert.
pub(crate) async fn runbooks(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|error| HttpError::bad_request(format!("the query string cannot be read: {error}")))?;
    let mut wanted = None;
    for (name, value) in pairs.into_inner() {
        if name != "name" {
            return Err(unknown(&name, &value, &["name"], "; /runbooks alone shows all of them"));
        }
        if wanted.replace(value).is_some() {
            return Err(twice("name", "two of them"));
        }
    }
    let text = match wanted {
        None => RUNBOOKS.to_owned(),
        Some(name) => runbook(&name).ok_or_else(|| {
            let name: String = name.chars().take(100).collect();
            let detail = format!("there is no runbook {name}: /runbooks shows all of them");
            HttpError::not_found("no_such_runbook", detail)
        })?,
    };
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(text))
}

/// The section under `name`.
fn runbook(name: &str) -> Option<String> {
    let mut parts = RUNBOOKS.split("\n## ").skip(1);
    let part = parts.find(|part| part.lines().next() == Some(name))?;
    Some(format!("## {}\n", part.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::status::ConditionKind;
    use crate::web::tests::stage::Stage;

    #[test]
    fn each_condition_has_a_runbook_of_its_own() {
        for &kind in ConditionKind::ALL {
            let text = runbook(kind.name()).unwrap_or_else(|| panic!("docs/runbooks.md has no part {}", kind.name()));
            assert!(!text.contains("\n## ") && text.contains("**Do**"), "{text}");
        }
        assert_eq!(runbook("Runbooks"), None);
    }

    #[actix_rt::test]
    async fn a_runbook_is_read_by_its_name_and_an_unknown_name_is_said() {
        let stage = Stage::new();
        for (path, code) in [
            ("/runbooks", "200"),
            ("/runbooks?name=feed_down", "200"),
            ("/runbooks?name=nothing", "404"),
            ("/runbooks?nome=feed_down", "400"),
            ("/runbooks?name=a&name=b", "400"),
        ] {
            let (status, _) = stage.get(path).await;
            assert!(status.contains(code), "{path}: {status}");
        }
    }
}
