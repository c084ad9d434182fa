//! A compiled document: everything that one request needs to know is found by its path and method.

use std::collections::HashMap;

use http::{HeaderName, Method};
use serde_json::{Map, Value};
use weir_config::bounds::OPENAPI_OPERATIONS_MAX;

use super::body::{BodyRule, FORM, Media, MediaCheck};
use super::coerce::Coercion;
use super::dialect;
use super::mock::{EXAMPLE_BYTES_MAX, Mocks};
use super::parameter::{Parameter, Place, Style};
use super::paths::{Captures, PathTree};
use super::read::{DocumentFault, FAULTS_MAX, below, excerpt, object, read, resolve};
use super::schemas::Schemas;
use crate::json;

/// A compiled document.
#[derive(Debug)]
pub(crate) struct Api {
    tree: PathTree,
    items: Vec<PathItem>,
    operations: Vec<Operation>,
    /// What its `servers` put before its paths; without a final slash.
    pub(super) base_paths: Vec<Box<str>>,
}

#[derive(Debug)]
struct PathItem {
    methods: Vec<(Method, u32)>,
    allow: Box<str>,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// Its `operationId`, else method and path.
    pub(super) name: Box<str>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<BodyRule>,
    pub(super) mocks: Option<Mocks>,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Found<'a, 'p> {
    /// The path has other methods.
    NoMethod(&'a str),
    NoPath,
    Operation(u32, Captures<'p>),
}

impl Api {
    /// Compiles a text. `mocks`: whether its examples are needed.
    ///
    /// # Errors
    /// What is wrong with it, as far as that is told.
    pub(crate) fn compile(text: &str, mocks: bool) -> Result<Api, Vec<DocumentFault>> {
        let (version, root) = read(text)?;
        let mut adapted = root.clone();
        dialect::adapt(&mut adapted, version);
        let schemas = Schemas::of(&adapted).map_err(|fault| vec![fault])?;
        let mut compiler = Compiler {
            written: &root,
            root: &adapted,
            schemas,
            api: Api {
                tree: PathTree::default(),
                items: Vec::new(),
                operations: Vec::new(),
                base_paths: base_paths(&root),
            },
            faults: Vec::new(),
            example_bytes: mocks.then_some(EXAMPLE_BYTES_MAX),
        };
        compiler.paths();
        match compiler.faults.is_empty() {
            true => Ok(compiler.api),
            false => Err(compiler.faults),
        }
    }

    pub(super) fn operation(&self, index: u32) -> Option<&Operation> {
        self.operations.get(index as usize)
    }

    /// What stands at a path, without what stands before those of the document.
    pub(super) fn find<'p>(&self, method: &Method, path: &'p str) -> Found<'_, 'p> {
        let Some((index, captures)) = self.tree.find(path) else {
            return Found::NoPath;
        };
        let Some(item) = self.items.get(index as usize) else {
            return Found::NoPath;
        };
        let by_method = |wanted: &Method| {
            let mut methods = item.methods.iter();
            methods
                .find(|(known, _)| known == wanted)
                .map(|(_, index)| *index)
        };
        // As for routes, `GET` brings `HEAD`.
        let head = || (method == Method::HEAD).then(|| by_method(&Method::GET))?;
        match by_method(method).or_else(head) {
            Some(operation) => Found::Operation(operation, captures),
            None => Found::NoMethod(&item.allow),
        }
    }

    /// How many operations it has, and how many of them nobody could answer by an example.
    pub(crate) fn operations(&self) -> (usize, usize) {
        let silent = |it: &&Operation| it.mocks.as_ref().is_some_and(|it| !it.is_answerable());
        let silent = self.operations.iter().filter(silent).count();
        (self.operations.len(), silent)
    }
}

/// Name and place of a parameter, which together are there once.
type ParameterKey = (String, String);

struct Compiler<'d> {
    /// As it was written: examples stand in it.
    written: &'d Value,
    /// With its schemas adapted.
    root: &'d Value,
    schemas: Schemas<'d>,
    api: Api,
    faults: Vec<DocumentFault>,
    /// What is left for examples; `None` where they are not needed.
    example_bytes: Option<usize>,
}

impl<'d> Compiler<'d> {
    fn paths(&mut self) {
        let Some(paths) = self.root.get("paths").and_then(Value::as_object) else {
            let fault = DocumentFault::new("/paths", "there are no paths");
            return self.faults.push(fault);
        };
        for (template, item) in paths {
            if template.starts_with("x-") {
                continue;
            }
            if self.faults.len() >= FAULTS_MAX {
                return;
            }
            if let Err(fault) = self.path(template, item) {
                self.faults.push(fault);
            }
        }
    }

    fn path(&mut self, template: &str, item: &'d Value) -> Result<(), DocumentFault> {
        let pointer = below("/paths", template);
        let index = u32::try_from(self.api.items.len()).unwrap_or(u32::MAX);
        let names = self.api.tree.add(template, index);
        let names = names.map_err(|fault| DocumentFault::new(&pointer, fault.to_string()))?;
        self.api.items.push(PathItem {
            methods: Vec::new(),
            allow: Box::default(),
        });
        let (item, pointer) = resolve(self.root, item, pointer)?;
        let item = object(item, &pointer)?;
        let shared = item.get("parameters");
        let shared = shared.map(|list| (list, below(&pointer, "parameters")));
        let mut methods = Vec::new();
        for (key, method) in METHODS {
            let Some(operation) = item.get(*key) else {
                continue;
            };
            let pointer = below(&pointer, key);
            if self.api.operations.len() >= OPENAPI_OPERATIONS_MAX {
                let problem = format!("more than {OPENAPI_OPERATIONS_MAX} operations");
                return Err(DocumentFault::new(pointer, problem));
            }
            match self.operation(
                template,
                &names,
                method,
                shared.as_ref(),
                (operation, &pointer),
            ) {
                Ok(compiled) => {
                    let index = u32::try_from(self.api.operations.len()).unwrap_or(u32::MAX);
                    methods.push((method.clone(), index));
                    self.api.operations.push(compiled);
                }
                Err(fault) => self.faults.push(fault),
            }
        }
        let mut allow: Vec<_> = methods.iter().map(|(method, _)| method.as_str()).collect();
        if allow.contains(&"GET") && !allow.contains(&"HEAD") {
            allow.push("HEAD");
        }
        let allow = allow.join(", ").into();
        if let Some(item) = self.api.items.last_mut() {
            *item = PathItem { methods, allow };
        }
        Ok(())
    }

    fn operation(
        &mut self,
        template: &str,
        names: &[String],
        method: &Method,
        shared: Option<&(&'d Value, String)>,
        (written, pointer): (&'d Value, &str),
    ) -> Result<Operation, DocumentFault> {
        let operation = object(written, pointer)?;
        let id = operation.get("operationId").and_then(Value::as_str);
        let named = || format!("{method} {template}");
        // It goes into a header field.
        let name = id.filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()));
        let name = excerpt(&name.map_or_else(named, str::to_owned));

        let own = operation.get("parameters");
        let own = own.map(|list| (list, below(pointer, "parameters")));
        let mut found: HashMap<ParameterKey, (&Map<String, Value>, String)> = HashMap::new();
        let mut order = Vec::new();
        // The operation's own replace those of its path.
        for (list, pointer) in shared.cloned().into_iter().chain(own) {
            let items = list
                .as_array()
                .ok_or_else(|| DocumentFault::new(&pointer, "expected a list"))?;
            for (index, item) in items.iter().enumerate() {
                let (item, pointer) =
                    resolve(self.root, item, below(&pointer, &index.to_string()))?;
                let parameter = object(item, &pointer)?;
                let text = |key: &str| {
                    let value = parameter.get(key).and_then(Value::as_str);
                    let fault = || DocumentFault::new(&pointer, format!("`{key}` is missing"));
                    value.map(str::to_owned).ok_or_else(fault)
                };
                let key = (text("name")?, text("in")?);
                if found.insert(key.clone(), (parameter, pointer)).is_none() {
                    order.push(key);
                }
            }
        }
        let mut parameters = Vec::with_capacity(order.len());
        for key in order {
            if let Some((parameter, pointer)) = found.remove(&key) {
                parameters.extend(self.parameter(names, &key, parameter, &pointer)?);
            }
        }
        let body = match operation.get("requestBody") {
            Some(body) => Some(self.body(body, below(pointer, "requestBody"))?),
            None => None,
        };
        let mocks = match &mut self.example_bytes {
            // At the same place of the document as it was written.
            Some(bytes) => {
                let written = self.written.pointer(pointer).unwrap_or(written);
                Some(Mocks::of(self.written, written, pointer, bytes)?)
            }
            None => None,
        };
        Ok(Operation {
            name: name.into(),
            parameters,
            body,
            mocks,
        })
    }

    /// `None` for a header that is spoken of elsewhere.
    fn parameter(
        &self,
        names: &[String],
        (name, place): &ParameterKey,
        written: &'d Map<String, Value>,
        pointer: &str,
    ) -> Result<Option<Parameter>, DocumentFault> {
        let fault = |problem: String| DocumentFault::new(pointer, problem);
        let place = match place.as_str() {
            "cookie" => Place::Cookie,
            "header" => {
                let header = HeaderName::try_from(name.as_str());
                let header = header.map_err(|_| fault(format!("`{name}` is no header field")))?;
                if ["accept", "authorization", "content-type"].contains(&header.as_str()) {
                    return Ok(None);
                }
                Place::Header(header)
            }
            "path" => {
                let index = names.iter().position(|known| known == name);
                Place::Path(index.ok_or_else(|| fault(format!("the path has no `{{{name}}}`")))?)
            }
            "query" => Place::Query,
            other => {
                return Err(fault(format!("`in` is `{}`", excerpt(other)))
                    .hint("it is `cookie`, `header`, `path` or `query`"));
            }
        };
        let flag = |key: &str| written.get(key).and_then(Value::as_bool);
        let mut parameter = Parameter {
            name: name.as_str().into(),
            required: flag("required").unwrap_or(false) || matches!(place, Place::Path(_)),
            allow_empty: flag("allowEmptyValue").unwrap_or(false),
            style: style(written, &place, pointer)?,
            explode: false,
            place,
            coercion: Coercion::default(),
            validator: None,
        };
        parameter.explode = flag("explode").unwrap_or(parameter.style == Style::Form);
        let content = written.get("content").and_then(Value::as_object);
        let (schema, at) = match (
            written.get("schema"),
            content.and_then(|it| it.iter().next()),
        ) {
            (Some(schema), _) => (schema, below(pointer, "schema")),
            (None, Some((kind, media))) => {
                if !json::is_json(kind.as_bytes()) {
                    // Another language: only that it is there can be asked.
                    return Ok(Some(parameter));
                }
                parameter.style = Style::Json;
                let at = below(&below(&below(pointer, "content"), kind), "schema");
                match media.get("schema") {
                    Some(schema) => (schema, at),
                    None => return Ok(Some(parameter)),
                }
            }
            (None, None) => return Ok(Some(parameter)),
        };
        parameter.coercion = Coercion::of(self.root, schema);
        parameter.validator = Some(self.schemas.validator(&at)?);
        Ok(Some(parameter))
    }

    fn body(&self, written: &'d Value, pointer: String) -> Result<BodyRule, DocumentFault> {
        let (written, pointer) = resolve(self.root, written, pointer)?;
        let written = object(written, &pointer)?;
        let pointer = below(&pointer, "content");
        let content = written.get("content").and_then(Value::as_object);
        let content = content.ok_or_else(|| DocumentFault::new(&pointer, "it is missing"))?;
        let mut media = Vec::with_capacity(content.len());
        for (kind, written) in content {
            let pointer = below(&pointer, kind);
            let (written, pointer) = resolve(self.root, written, pointer)?;
            let range = json::essence(kind.as_bytes()).to_ascii_lowercase();
            let range = String::from_utf8_lossy(&range).into_owned();
            let validator = || self.schemas.validator(&below(&pointer, "schema"));
            let check = match written.get("schema") {
                Some(_) if json::is_json(range.as_bytes()) => MediaCheck::Json(validator()?),
                Some(schema) if range == FORM => {
                    MediaCheck::Form(Coercion::of(self.root, schema), validator()?)
                }
                _ => MediaCheck::Not,
            };
            let range = range.into();
            media.push(Media { range, check });
        }
        media.sort_by_key(Media::rank);
        let required = written.get("required").and_then(Value::as_bool);
        Ok(BodyRule {
            required: required.unwrap_or(false),
            media,
        })
    }
}

fn style(
    written: &Map<String, Value>,
    place: &Place,
    pointer: &str,
) -> Result<Style, DocumentFault> {
    let name = written.get("style").and_then(Value::as_str);
    let style = match (place, name) {
        (Place::Query | Place::Cookie, None | Some("form")) => Style::Form,
        (Place::Path(_) | Place::Header(_), None | Some("simple")) => Style::Simple,
        (Place::Path(_), Some("label")) => Style::Label,
        (Place::Path(_), Some("matrix")) => Style::Matrix,
        (Place::Query, Some("deepObject")) => Style::DeepObject,
        (Place::Query, Some("pipeDelimited")) => Style::PipeDelimited,
        (Place::Query, Some("spaceDelimited")) => Style::SpaceDelimited,
        (_, Some(name)) => {
            let problem = format!("there is no style `{}` at this place", excerpt(name));
            return Err(DocumentFault::new(below(pointer, "style"), problem));
        }
    };
    Ok(style)
}

/// The paths of the document's servers, with the defaults of their variables; the root where it has
/// none.
fn base_paths(root: &Value) -> Vec<Box<str>> {
    let servers = root.get("servers").and_then(Value::as_array);
    let mut paths: Vec<Box<str>> = Vec::new();
    for server in servers.into_iter().flatten() {
        let Some(url) = server.get("url").and_then(Value::as_str) else {
            continue;
        };
        let mut url = url.to_owned();
        let variables = server.get("variables").and_then(Value::as_object);
        for (name, variable) in variables.into_iter().flatten() {
            let default = variable.get("default").and_then(Value::as_str);
            url = url.replace(&format!("{{{name}}}"), default.unwrap_or_default());
        }
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
            None => &url,
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = path.trim_end_matches('/');
        // A relative one depends on where the document was found.
        if path.is_empty() || path.starts_with('/') {
            paths.push(path.into());
        }
    }
    // The longest first, so that `/` does not hide `/v1`.
    paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
    paths.dedup();
    if paths.is_empty() {
        paths.push(Box::default());
    }
    paths
}

const METHODS: &[(&str, Method)] = &[
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("options", Method::OPTIONS),
    ("head", Method::HEAD),
    ("patch", Method::PATCH),
    ("trace", Method::TRACE),
];
