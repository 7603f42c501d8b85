# Change control: what a change board adds for adapters that want to serve.
#
# Edits may feed the policy at any time once the gate accepts them. A promotion needs more: pinned
# base models, enough questions for the size of loss that matters here, no more than a given number
# of edits per writer, and a time inside an open change window (seconds since 1970, from data.json).
#
# Try it with stock OPA:  opa test configs/policies/change-control -v
package seal

import rego.v1

default allow := false

allow if {
	input.version == 1
	input.request.purpose == "edit"
	every_gate_passed
	labels_are_taken
}

allow if {
	input.version == 1
	input.request.purpose == "promotion"
	every_gate_passed
	labels_are_taken
	base_is_approved
	suites_are_large_enough
	no_writer_dominates
	window_is_open
}

every_gate_passed if {
	names := {"bytes", "provenance", "text", "tau", "retention", "protected"}
	every name in names {
		input.gates[name].outcome == "passed"
	}
}

# An edit may be accepted by a vote of the models themselves; whatever serves has gold answers behind it.
labels_are_taken if input.measurements.labels in data.labels[input.request.purpose]

base_is_approved if input.candidate.base_model_digest in data.base_models

suites_are_large_enough if {
	every name, items in data.min_items {
		is_number(input.measurements[name].n)
		input.measurements[name].n >= items
	}
	count(data.min_items) > 0
}

# A poisoner needs a number of examples, not a share of them: so examples are counted.
no_writer_dominates if {
	count(input.candidate.edits) > 0
	writers := {edit.writer | some edit in input.candidate.edits}
	every writer in writers {
		examples := sum([edit.examples | some edit in input.candidate.edits; edit.writer == writer])
		examples <= data.max_examples_per_writer
	}
	every edit in input.candidate.edits {
		is_string(edit.writer)
		is_number(edit.examples)
	}
}

window_is_open if {
	is_number(input.request.at)
	some window in data.windows
	input.request.at >= window.from
	input.request.at < window.until
}

reasons contains "gates" if not every_gate_passed

reasons contains "labels" if not labels_are_taken

reasons contains "base-model" if {
	promotion
	not base_is_approved
}

reasons contains "suite-size" if {
	promotion
	not suites_are_large_enough
}

reasons contains "writer-quota" if {
	promotion
	not no_writer_dominates
}

reasons contains "change-window" if {
	promotion
	not window_is_open
}

promotion if input.request.purpose == "promotion"
