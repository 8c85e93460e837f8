//! Artifacts of each controller, and the channel that wakes them.

use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc::UnboundedSender;

use crate::api::stored::Stored;

/// The artifacts of all controllers.
#[derive(Default)]
pub(super) struct Scopes(Vec<Scope>);

/// Artifacts of one controller. Artifacts to be reconciled are sent to `wake`.
struct Scope {
    objects: Store<Stored>,
    wake: UnboundedSender<ObjectRef<Stored>>,
}

impl Scopes {
    pub(super) fn add(&mut self, objects: Store<Stored>, wake: UnboundedSender<ObjectRef<Stored>>) {
        self.0.push(Scope { objects, wake });
    }

    pub(super) fn contains(&self, object: &ObjectRef<Stored>) -> bool {
        self.0.iter().any(|scope| scope.objects.get(object).is_some())
    }

    pub(super) fn wake(&self, objects: Vec<ObjectRef<Stored>>) {
        for object in objects {
            let of_it = self.0.iter().find(|scope| scope.objects.get(&object).is_some());
            if let Some(scope) = of_it {
                // A controller that has ended needs no notification.
                let _ = scope.wake.send(object);
            }
        }
    }

    /// Wakes the artifacts of a namespace.
    pub(super) fn wake_namespace(&self, namespace: &str) {
        for Scope { objects, wake } in &self.0 {
            let all = objects.state();
            let inside = all.iter().filter(|object| object.metadata.namespace.as_deref() == Some(namespace));
            // A controller that has ended needs no notification.
            inside.for_each(|object| drop(wake.send(ObjectRef::from_obj(object.as_ref()))));
        }
    }
}
