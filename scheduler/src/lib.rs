//! The scheduler: picks a node for each pod.
//!
//! Changes of nodes and pods go into [`scheduler::Scheduler`], a state machine without IO, and plans come out.
//! From below to above: [`model`] is what scheduling reads of pods and nodes, [`view`] how it is decoded,
//! [`cluster`] the sums by node, [`filter`] and [`score`] the rules, one file for each of upstream's plugins,
//! [`spread`] and [`evaluation`] what pods of one template share, [`diagnosis`] why a pod fits nowhere, [`queue`]
//! who waits for what, and [`run`] the one place that talks to the API server.

pub mod cluster;
pub mod diagnosis;
pub mod evaluation;
pub mod filter;
pub mod model;
pub mod options;
pub mod queue;
pub mod run;
pub mod scheduler;
pub mod score;
pub mod spread;
pub mod view;
