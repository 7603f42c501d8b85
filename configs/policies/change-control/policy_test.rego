# A positive and a negative example for every rule; run by the auditor at start and by `opa test`.
package seal_test

import rego.v1

import data.seal

digest := "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

other_digest := "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

passed := {"outcome": "passed", "reasons": []}

promotion := {
	"version": 1,
	"request": {"purpose": "promotion", "at": 1800000000},
	"candidate": {
		"base_model_digest": digest,
		"edits": [{"writer": "local:miniature", "examples": 12000}, {"writer": "api:model", "examples": 9000}],
	},
	"gates": {
		"bytes": passed, "provenance": passed, "text": passed,
		"tau": passed, "retention": passed, "protected": passed,
	},
	"measurements": {
		"labels": "gold",
		"tau_confirmation": {"n": 40}, "retention": {"n": 100},
		"protected_own": {"n": 4}, "protected_others": {"n": 40},
	},
}

with_(change) := object.union(promotion, change)

refused_for(changed, name) if {
	not seal.allow with input as changed
	name in seal.reasons with input as changed
}

test_a_promotion_inside_the_rules_is_allowed if {
	seal.allow with input as promotion
	count(seal.reasons) == 0 with input as promotion
}

test_an_edit_needs_only_the_gate if {
	seal.allow with input as with_({"request": {"purpose": "edit", "at": 5}})
	refused_for(with_({"request": {"purpose": "edit"}, "gates": {"text": {"outcome": "failed"}}}), "gates")
}

test_a_vote_may_feed_the_policy_and_never_serve if {
	voted := {"measurements": {"labels": "majority"}}
	seal.allow with input as with_(object.union({"request": {"purpose": "edit"}}, voted))
	refused_for(with_(voted), "labels")
	refused_for(json.remove(promotion, ["measurements/labels"]), "labels")
	refused_for(with_({"request": {"purpose": "edit"}, "measurements": {"labels": "guess"}}), "labels")
}

test_an_evaluation_is_never_allowed if {
	not seal.allow with input as with_({"request": {"purpose": "evaluation"}})
}

test_a_gate_that_is_missing_is_refused if {
	every name in ["bytes", "provenance", "text", "tau", "retention", "protected"] {
		refused_for(json.remove(promotion, [concat("/", ["gates", name])]), "gates")
	}
}

test_an_unapproved_base_is_refused if {
	refused_for(with_({"candidate": {"base_model_digest": other_digest}}), "base-model")
}

test_small_suites_are_refused if {
	every name, items in {"tau_confirmation": 39, "retention": 99, "protected_own": 3, "protected_others": 39} {
		refused_for(with_({"measurements": {name: {"n": items}}}), "suite-size")
	}
	refused_for(json.remove(promotion, ["measurements/retention/n"]), "suite-size")
	refused_for(with_({"measurements": {"retention": {"n": "100"}}}), "suite-size")
}

test_one_writer_may_not_dominate if {
	one := [{"writer": "local:miniature", "examples": 12000}, {"writer": "local:miniature", "examples": 9000}]
	refused_for(with_({"candidate": {"edits": one}}), "writer-quota")
	refused_for(with_({"candidate": {"edits": []}}), "writer-quota")
	refused_for(with_({"candidate": {"edits": [{"writer": "local:miniature"}]}}), "writer-quota")
}

test_outside_the_window_is_refused if {
	refused_for(with_({"request": {"at": 1800010800}}), "change-window")
	refused_for(with_({"request": {"at": "1800000000"}}), "change-window")
	seal.allow with input as with_({"request": {"at": 1799996400}})
}
