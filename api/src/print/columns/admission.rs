//! The columns of webhooks and policies.

use super::{Column, OBJECT_AGE, OBJECT_NAME, column, integer};

pub(in crate::print) const MUTATINGADMISSIONPOLICIES: &[Column] = &[
    OBJECT_NAME,
    integer("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
    column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    OBJECT_AGE,
];

pub(in crate::print) const MUTATINGADMISSIONPOLICYBINDINGS: &[Column] = &[
    OBJECT_NAME,
    column("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
    column("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
    OBJECT_AGE,
];

pub(in crate::print) const MUTATINGWEBHOOKCONFIGURATIONS: &[Column] = &[
    OBJECT_NAME,
    integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
    OBJECT_AGE,
];

pub(in crate::print) const VALIDATINGADMISSIONPOLICIES: &[Column] = &[
    OBJECT_NAME,
    integer("Validations", "Validations indicates the number of validation rules defined in this configuration"),
    column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    OBJECT_AGE,
];

pub(in crate::print) const VALIDATINGADMISSIONPOLICYBINDINGS: &[Column] = &[
    OBJECT_NAME,
    column("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
    column("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
    OBJECT_AGE,
];

pub(in crate::print) const VALIDATINGWEBHOOKCONFIGURATIONS: &[Column] = &[
    OBJECT_NAME,
    integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
    OBJECT_AGE,
];
