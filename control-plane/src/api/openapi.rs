//! The OpenAPI document of the API.

use axum::Json;
use serde_json::{Map, Value, json};

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<Value> {
    Json(openapi())
}

/// The document.
pub(super) fn openapi() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weir control plane",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Configuration, revisions, nodes and membership of a Weir mesh.",
        },
        "paths": paths(),
        "components": { "schemas": schemas(), "securitySchemes": {
            "token": { "type": "http", "scheme": "bearer",
                "description": "Needed where the control plane was started with --api-token-file." },
        } },
    })
}

fn paths() -> Value {
    let yaml = json!({ "application/yaml": { "schema": { "type": "string" } } });
    let if_match = json!({ "name": "If-Match", "in": "header", "schema": { "type": "string" },
        "description": "Revision in quotes that the author wrote against; 412 when it is not the newest." });
    let wait = query(
        "wait",
        "Answer when every connected proxy has answered, or after this duration.",
    );
    let author = query("author", "Who writes, kept with the revision.");
    let revision = query("revision", "An earlier revision's number.");
    let written = response("The revision that holds the document.", "Written");
    json!({
        "/v1/config": {
            "get": { "operationId": "showConfig", "summary": "The document in force, as YAML",
                "parameters": [revision],
                "responses": { "200": { "description": "The document", "content": yaml }, "default": problem() } },
            "put": { "operationId": "applyConfig", "summary": "Make a document the next revision",
                "parameters": [wait, author, if_match],
                "requestBody": { "required": true, "content": yaml },
                "responses": { "200": written, "default": problem() } },
        },
        "/v1/config/revisions": { "get": { "operationId": "listRevisions",
            "summary": "The revisions kept, newest first",
            "responses": { "200": response("The revisions", "Revisions"), "default": problem() } } },
        "/v1/config/rollback": { "post": { "operationId": "rollback",
            "summary": "Make an earlier revision's document the next revision",
            "parameters": [wait, author, if_match],
            "requestBody": { "required": false, "content": { "application/json": { "schema": {
                "type": "object", "properties": { "to": { "type": "integer", "minimum": 1 } } } } } },
            "responses": { "200": written, "default": problem() } } },
        "/v1/check": { "post": { "operationId": "check",
            "summary": "Whether every proxy would accept a document; changes nothing",
            "requestBody": { "required": true, "content": yaml },
            "responses": { "200": response("It would", "Checked"), "default": problem() } } },
        "/v1/explain": { "post": { "operationId": "explain",
            "summary": "What would happen to a request, and which line of the document decides",
            "requestBody": { "required": true, "content": { "application/json": { "schema":
                { "$ref": "#/components/schemas/ExplainRequest" } } } },
            "responses": { "200": response("The explanation", "Explanation"), "default": problem() } } },
        "/v1/nodes": { "get": { "operationId": "listNodes", "summary": "The proxies and what each runs",
            "responses": { "200": response("The proxies", "Nodes"), "default": problem() } } },
        "/v1/services": { "get": { "operationId": "listServices",
            "summary": "Every service, where its endpoints come from, and those known here",
            "responses": { "200": response("The services", "Services"), "default": problem() } } },
        "/v1/trust": { "get": { "operationId": "showTrust", "summary": "Trust domain and roots",
            "responses": { "200": response("Whom the mesh trusts", "Trust"), "default": problem() } } },
        "/openapi.json": { "get": { "operationId": "showOpenapi", "summary": "This document",
            "security": [], "responses": { "200": any("This document") } } },
        "/healthz": { "get": { "operationId": "health", "summary": "The process runs", "security": [],
            "responses": { "200": any("It does") } } },
        "/readyz": { "get": { "operationId": "ready", "summary": "It serves", "security": [],
            "responses": { "200": any("It does"), "503": any("It is ending") } } },
        "/metrics": { "get": { "operationId": "metrics", "summary": "Prometheus text", "security": [],
            "responses": { "200": { "description": "Metrics",
                "content": { "text/plain": { "schema": { "type": "string" } } } } } } },
    })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "integer", "minimum": 0 });
    let flag = json!({ "type": "boolean" });
    let names = json!({ "type": "array", "items": text });
    let list = |name: &str| json!({ "type": "array", "items": reference(name) });
    let mut all = Map::new();
    let mut put = |name: &str, required: &[&str], properties: Value| {
        let schema = json!({ "type": "object", "required": required, "properties": properties });
        all.insert(name.to_owned(), schema);
    };
    put(
        "ConfigError",
        &["path", "line", "column", "problem"],
        json!({
        "path": text, "line": number, "column": number, "problem": text, "hint": text }),
    );
    put(
        "Problem",
        &["code", "title", "status", "detail"],
        json!({
        "code": text, "title": text, "status": number, "detail": text, "errors": list("ConfigError") }),
    );
    put(
        "Revision",
        &["number", "digest", "bytes", "accepted_unix"],
        json!({
        "number": number, "digest": text, "bytes": number, "accepted_unix": number, "author": text,
        "rollback_to": number }),
    );
    put(
        "Refused",
        &["node", "errors"],
        json!({ "node": text, "errors": list("ConfigError") }),
    );
    put(
        "Convergence",
        &["number", "converged", "running", "pending", "refused"],
        json!({
        "number": number, "converged": flag, "running": names, "pending": names, "refused": list("Refused") }),
    );
    put(
        "Written",
        &["revision", "changed", "warnings"],
        json!({
        "revision": reference("Revision"), "changed": flag, "warnings": list("ConfigError"),
        "convergence": reference("Convergence") }),
    );
    put(
        "Revisions",
        &["revisions"],
        json!({ "revisions": list("Revision") }),
    );
    put(
        "Checked",
        &["warnings", "routes", "services"],
        json!({
        "warnings": list("ConfigError"), "routes": number, "services": number }),
    );
    put(
        "ExplainRequest",
        &["method", "url"],
        json!({
        "method": text, "url": text, "headers": { "type": "array", "items": names },
        "client": text, "listener": text, "peer": text,
        "assume_claims": { "type": "object" },
        "sidecar": text, "revision": number, "config": text }),
    );
    put("Explanation", &[], json!({}));
    put(
        "Node",
        &[
            "node",
            "role",
            "identity",
            "version",
            "connected",
            "running",
            "answered",
        ],
        json!({
        "node": text, "role": { "enum": ["gateway", "sidecar"] }, "service": text, "identity": text,
        "version": text, "connected": flag, "running": number, "answered": number,
        "errors": list("ConfigError"), "report": { "type": "object" }, "since_unix": number }),
    );
    put(
        "Nodes",
        &["revision", "converged", "nodes"],
        json!({
        "revision": number, "converged": flag, "nodes": list("Node") }),
    );
    put(
        "Endpoint",
        &["address", "weight", "healthy"],
        json!({
        "address": text, "weight": number, "zone": text, "identity": text,
        "labels": { "type": "object" }, "healthy": flag }),
    );
    put(
        "Service",
        &["service", "source", "endpoints"],
        json!({ "service": text, "source": { "enum": ["consul", "dns", "endpoints", "file", "mesh"] },
            "endpoints": list("Endpoint") }),
    );
    put(
        "Services",
        &["services"],
        json!({ "services": list("Service") }),
    );
    put(
        "Trust",
        &["trust_domain", "bundle_pem"],
        json!({ "trust_domain": text, "bundle_pem": text }),
    );
    Value::Object(all)
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn response(description: &str, schema: &str) -> Value {
    json!({ "description": description,
        "content": { "application/json": { "schema": reference(schema) } } })
}

fn any(description: &str) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": {} } } })
}

fn problem() -> Value {
    json!({ "description": "What went wrong (RFC 9457)",
        "content": { "application/problem+json": { "schema": reference("Problem") } } })
}

fn query(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": { "type": "string" } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_document_has_exactly_the_paths_that_are_served() {
        let document = openapi();
        let documented: Vec<&str> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut served: Vec<&str> = super::super::ENDPOINTS.iter().map(|e| e.path).collect();
        served.sort_unstable();
        let mut sorted = documented.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, served);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = openapi();
        let text = document.to_string();
        for name in text.split("#/components/schemas/").skip(1) {
            let name = name.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "{name}"
            );
        }
    }
}
