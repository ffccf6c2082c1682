//! `/widgets.json` and `/apps.json`: the description of this service for OpenBB Workspace, with a chart on the data feed.

use crate::domain::model::Symbol;
use crate::web::shared::{HttpError, Thread};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

/// `GET /widgets.json`.
pub(crate) async fn widgets(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let thread = Thread::of(&request)?;
    let first = thread.common.symbols.first().map(Symbol::compact);
    Ok(HttpResponse::Ok().json(json!({"prices": {
        "name": "Prices and their gaps",
        "description": "Bars of candela, with gaps, seams and revised bars marked",
        "category": "Forex",
        "type": "advanced_charting",
        "endpoint": "/udf",
        "gridData": {"w": 40, "h": 20},
        "data": {"defaultSymbol": first, "updateFrequency": 60_000},
    }})))
}

/// `GET /apps.json`.
pub(crate) async fn apps() -> HttpResponse {
    let layout: Value = json!([{"i": "prices", "x": 0, "y": 0, "w": 40, "h": 20}]);
    HttpResponse::Ok().json(json!([{
        "name": "candela", "img": "", "img_dark": "", "img_light": "",
        "description": "Live bars with what is missing and why", "allowCustomization": true,
        "tabs": {"prices": {"id": "prices", "name": "Prices", "layout": layout}}, "groups": [],
    }]))
}
