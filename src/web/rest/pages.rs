//! Pages and their files, compiled in: none needs another host or the network.
//!
//! Each file is compressed once, at its first request, and has an ETag of its content. The pages refer to their files by relative paths, so
//! that they work behind a path prefix.

use crate::web::rest::history::{begin_tagged, tag_of};
use crate::web::shared::HttpError;
use actix_web::http::header::{self, AcceptEncoding, ContentEncoding, Encoding, EntityTag};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::sync::LazyLock;

/// Allows scripts, styles, fonts and connections of this origin only. The hash is that of the one style sheet that lightweight-charts adds
/// to the page, for its attribution logo.
const POLICY: &str = "default-src 'self'; style-src 'self' 'sha256-3pRED1tOXas1FXFoPb9TGCjmYe9XQsmO9OV23khV2nY='; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A file of the repository.
struct Asset {
    /// Its path below `assets/`; for a page, its name.
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! assets {
    ($($name:literal $kind:ident $path:literal),* $(,)?) => {
        [$(Asset { name: $name, kind: $kind, bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path)) }),*]
    };
}

const DASHBOARD: &str = "index.html";
const DOCS: &str = "docs.html";
const ICON: &str = "image/svg+xml";
const FONT: &str = "font/woff2";

/// Every file of the pages. The client module is the one in clients/js, which other programs use as well.
static ASSETS: [Asset; 30] = assets![
    "index.html" HTML "src/web/assets/dashboard/index.html",
    "docs.html" HTML "src/web/assets/docs/docs.html",
    "actions.js" SCRIPT "src/web/assets/dashboard/actions.js",
    "app.js" SCRIPT "src/web/assets/dashboard/app.js",
    "bars.js" SCRIPT "src/web/assets/dashboard/bars.js",
    "candela.js" SCRIPT "clients/js/candela.js",
    "chart.js" SCRIPT "src/web/assets/dashboard/chart.js",
    "data.js" SCRIPT "src/web/assets/dashboard/data.js",
    "dialogs.js" SCRIPT "src/web/assets/dashboard/dialogs.js",
    "docs.css" STYLE "src/web/assets/docs/docs.css",
    "docs.js" SCRIPT "src/web/assets/docs/docs.js",
    "dom.js" SCRIPT "src/web/assets/dashboard/dom.js",
    "events.js" SCRIPT "src/web/assets/dashboard/events.js",
    "favicon.svg" ICON "src/web/assets/dashboard/favicon.svg",
    "heatmap.js" SCRIPT "src/web/assets/dashboard/heatmap.js",
    "journal.js" SCRIPT "src/web/assets/dashboard/journal.js",
    "licences.txt" TEXT "src/web/assets/dashboard/licences.txt",
    "link.js" SCRIPT "src/web/assets/dashboard/link.js",
    "panels.js" SCRIPT "src/web/assets/dashboard/panels.js",
    "rest.js" SCRIPT "src/web/assets/dashboard/rest.js",
    "style.css" STYLE "src/web/assets/dashboard/style.css",
    "theme.js" SCRIPT "src/web/assets/dashboard/theme.js",
    "time.js" SCRIPT "src/web/assets/dashboard/time.js",
    "timeline.js" SCRIPT "src/web/assets/dashboard/timeline.js",
    "vendor/inter.LICENSE" TEXT "src/web/assets/dashboard/vendor/inter.LICENSE",
    "vendor/inter.woff2" FONT "src/web/assets/dashboard/vendor/inter.woff2",
    "vendor/lightweight-charts.LICENSE" TEXT "src/web/assets/dashboard/vendor/lightweight-charts.LICENSE",
    "vendor/lightweight-charts.mjs" SCRIPT "src/web/assets/dashboard/vendor/lightweight-charts.mjs",
    "verdict.js" SCRIPT "src/web/assets/dashboard/verdict.js",
    "words.js" SCRIPT "src/web/assets/dashboard/words.js",
];

/// A file as it is served.
struct Served {
    asset: &'static Asset,
    tag: EntityTag,
    /// The compressed bytes, if they are fewer.
    zipped: Option<Vec<u8>>,
}

static SERVED: LazyLock<Vec<Served>> = LazyLock::new(|| ASSETS.iter().map(Served::of).collect());

impl Served {
    fn of(asset: &'static Asset) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let zipped = encoder.write_all(asset.bytes).and_then(|()| encoder.finish()).ok();
        Self {
            asset,
            tag: tag_of(asset.bytes), // the same for both encodings
            zipped: zipped.filter(|zipped| zipped.len() < asset.bytes.len()),
        }
    }

    fn answer(&'static self, request: &HttpRequest) -> HttpResponse {
        let (mut response, known) = begin_tagged(request, self.tag.clone());
        response
            .insert_header((header::VARY, "Accept-Encoding"))
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((header::REFERRER_POLICY, "no-referrer"));
        if known {
            return response.finish();
        }
        response.content_type(self.asset.kind);
        match &self.zipped {
            Some(zipped) if takes_gzip(request) => {
                response.insert_header(ContentEncoding::Gzip).body(zipped.as_slice())
            }
            _ => response.body(self.asset.bytes),
        }
    }
}

fn takes_gzip(request: &HttpRequest) -> bool {
    let accepted = request.get_header::<AcceptEncoding>();
    let choices = [Encoding::gzip(), Encoding::identity()];
    accepted.and_then(|accepted| accepted.negotiate(choices.iter())) == Some(Encoding::gzip())
}

fn served(request: &HttpRequest, name: &str) -> Result<HttpResponse, HttpError> {
    let found = SERVED.iter().find(|served| served.asset.name == name);
    found.map(|served| served.answer(request)).ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        HttpError::not_found("no_such_path", format!("there is nothing at /assets/{name}"))
    })
}

/// `GET /`: the dashboard.
pub(crate) async fn dashboard(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    served(&request, DASHBOARD)
}

/// `GET /docs`: the page that shows both documents.
pub(crate) async fn docs(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    served(&request, DOCS)
}

/// `GET /assets/…`: the files of the pages.
pub(crate) async fn asset(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, HttpError> {
    served(&request, &name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::tests::stage::Stage;
    use sha2::{Digest, Sha256};

    fn text(name: &str) -> &'static str {
        let asset = ASSETS.iter().find(|asset| asset.name == name).unwrap();
        std::str::from_utf8(asset.bytes).unwrap()
    }

    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let whole = (0..3).fold(0u32, |whole, i| whole << 8 | u32::from(*group.get(i).unwrap_or(&0)));
            for place in 0..4 {
                let letter = LETTERS[usize::try_from(whole >> (18 - 6 * place) & 63).unwrap()];
                text.push(if place <= group.len() { letter.into() } else { '=' });
            }
        }
        text
    }

    #[test]
    fn pages_name_nothing_by_an_absolute_path_so_that_they_work_behind_a_prefix() {
        for name in [
            "index.html",
            "docs.html",
            "docs.js",
            "rest.js",
            "data.js",
            "heatmap.js",
            "chart.js",
            "style.css",
        ] {
            for absolute in ["=\"/", "(\"/", "'/", "`/", "location.host", "location.origin"] {
                assert!(
                    !text(name).contains(absolute),
                    "{name}: {absolute:?} breaks behind a path prefix"
                );
            }
        }
    }

    #[test]
    fn every_file_that_the_pages_name_is_served() {
        for page in ["index.html", "docs.html"] {
            for named in text(page).split("\"assets/").skip(1) {
                let name = named.split('"').next().unwrap();
                assert!(ASSETS.iter().any(|asset| asset.name == name), "{page} names {name}");
            }
        }
        for asset in ASSETS
            .iter()
            .filter(|asset| asset.kind == SCRIPT && !asset.name.contains('/'))
        {
            for line in text(asset.name).lines().filter(|line| line.starts_with("import ")) {
                let name = line
                    .split("\"./")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .unwrap();
                assert!(
                    ASSETS.iter().any(|asset| asset.name == name),
                    "{} imports {name}",
                    asset.name
                );
            }
        }
    }

    #[test]
    fn the_policy_allows_the_one_style_sheet_that_the_chart_brings() {
        let chart = text("vendor/lightweight-charts.mjs");
        let style = chart.split("innerText=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(style.starts_with("a#tv-attr-logo"), "{style}");
        let hash = base64(&Sha256::digest(style));
        assert!(
            POLICY.contains(&format!("'sha256-{hash}'")),
            "the policy must hold sha256-{hash}"
        );
    }

    #[test]
    fn the_page_is_under_150_kilobytes_compressed() {
        let needed = SERVED
            .iter()
            .filter(|served| !matches!(served.asset.kind, TEXT) && !served.asset.name.starts_with("docs"));
        let size: usize = needed
            .map(|served| served.zipped.as_ref().map_or(served.asset.bytes.len(), Vec::len))
            .sum();
        assert!(size > 80_000, "{size} bytes: something is missing");
        assert!(size < 150_000, "{size} bytes");
    }

    #[actix_rt::test]
    async fn files_come_compressed_with_a_tag_and_are_not_sent_again() {
        let stage = Stage::new();
        for path in ["/", "/docs", "/assets/app.js", "/assets/candela.js"] {
            let (head, _) = stage.get_with(path, "Accept-Encoding: gzip\r\n").await;
            let lower = head.to_ascii_lowercase();
            assert!(
                lower.contains("200 ok") && lower.contains("content-encoding: gzip"),
                "{path}: {head}"
            );
            assert!(
                lower.contains("default-src 'self'") && !lower.contains("unsafe"),
                "{path}: {head}"
            );
            let (plain, _) = stage.get_with(path, "").await;
            assert!(
                !plain.to_ascii_lowercase().contains("content-encoding"),
                "{path}: {plain}"
            );
            let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
            let (again, _) = stage.get_with(path, &format!("If-None-Match: {tag}\r\n")).await;
            assert!(again.contains("304"), "{path}: {again}");
        }
        let (head, body) = stage.get_with("/assets/none.js", "").await;
        assert!(
            head.contains("404") && body["detail"] == "there is nothing at /assets/none.js",
            "{head} {body}"
        );
    }
}
