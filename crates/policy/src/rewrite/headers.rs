//! Changes of headers: remove, set, add, with places in the values.
//!
//! When a value cannot be made (the claim is missing, or what came out is none), `set` removes the
//! field and `add` adds nothing, so that the client's own value never passes for Weir's.

use http::{HeaderMap, HeaderName, HeaderValue};
use weir_config::route::HeaderChanges;
use weir_config::{Located, Position};

use super::template::{Scope, Template};

/// Changes of headers.
#[derive(Debug, Default)]
pub struct HeaderPlan {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
    /// Whether a value has places.
    varies: bool,
}

#[derive(Debug)]
enum Value {
    Fixed(HeaderValue),
    Template(Template),
}

/// Why a change was refused: the key below the changes, its place, and the problem.
pub(super) type Reject = (String, Position, String);

impl HeaderPlan {
    /// Compiles the changes, which stand at `at`; every fault goes to `reject`.
    pub(crate) fn compile(
        changes: &HeaderChanges,
        scope: Scope<'_>,
        at: Position,
        mut reject: impl FnMut(Reject),
    ) -> HeaderPlan {
        let mut plan = HeaderPlan {
            remove: changes.remove.clone(),
            ..HeaderPlan::default()
        };
        for name in &changes.remove {
            if is_own(name) {
                reject((format!("remove.{name}"), at, own_problem(name)));
            }
        }
        for (key, written, compiled) in [
            ("set", &changes.set, &mut plan.set),
            ("add", &changes.add, &mut plan.add),
        ] {
            for (name, value) in written {
                let made = match is_own(name) {
                    true => Err(own_problem(name)),
                    false => Value::compile(value, scope),
                };
                match made {
                    Ok(value) => compiled.push((name.clone(), value)),
                    Err(problem) => reject((format!("{key}.{name}"), value.at, problem)),
                }
            }
        }
        let varies = plan.templates().next().is_some();
        plan.varies = varies;
        plan
    }

    /// Whether a value depends on the request.
    pub(crate) fn varies(&self) -> bool {
        self.varies
    }

    /// The values that depend on the request, in the order in which [`HeaderPlan::apply`] takes
    /// them.
    pub(crate) fn templates(&self) -> impl Iterator<Item = (&HeaderName, &Template)> {
        let values = self.set.iter().chain(&self.add);
        values.filter_map(|(name, value)| match value {
            Value::Fixed(_) => None,
            Value::Template(template) => Some((name, template)),
        })
    }

    /// Takes out what the changes would not leave as it is.
    pub(crate) fn conceal(&self, headers: &mut HeaderMap) {
        for name in self
            .remove
            .iter()
            .chain(self.set.iter().map(|(name, _)| name))
        {
            headers.remove(name);
        }
    }

    /// Applies the changes; `filled` has what became of the templates.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, filled: &[Option<HeaderValue>]) {
        let mut filled = filled.iter();
        let mut value = |value: &Value| match value {
            Value::Fixed(value) => Some(value.clone()),
            Value::Template(_) => filled.next().cloned().flatten(),
        };
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, written) in &self.set {
            match value(written) {
                Some(value) => {
                    headers.insert(name, value);
                }
                None => {
                    headers.remove(name);
                }
            }
        }
        for (name, written) in &self.add {
            if let Some(value) = value(written) {
                headers.append(name, value);
            }
        }
    }
}

impl Value {
    fn compile(
        written: &Located<weir_config::template::Template>,
        scope: Scope<'_>,
    ) -> Result<Value, String> {
        let template = Template::compile(written, scope).map_err(|fault| fault.to_string())?;
        Ok(match template.as_fixed() {
            Some(text) => Value::Fixed(
                HeaderValue::from_str(text)
                    .map_err(|_| "its text cannot stand in a header".to_owned())?,
            ),
            None => Value::Template(template),
        })
    }
}

/// Fields that frame the message or that Weir writes itself.
fn is_own(name: &HeaderName) -> bool {
    let name = name.as_str();
    super::hop::is_hop_by_hop(name)
        || matches!(name, "content-length" | "trailer")
        || name.starts_with("weir-")
}

fn own_problem(name: &HeaderName) -> String {
    format!("`{name}` is written by Weir itself and cannot be changed")
}
