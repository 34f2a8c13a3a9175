// SPDX-License-Identifier: Apache-2.0
#pragma once
// Every key of a deck, with its default: the one list that reads, checks and dumps it.
#include <string>
#include <vector>

#include "comm/process_grid.h"
#include "deck/deck.h"
#include "model/model_config.h"
#include "sweep/options.h"

namespace selvage {

struct RunDeck {
    JobOptions job;
    GridOptions grid;
    ModelConfig model;
    std::string model_from;
};

// Fills `options` (whose values are the defaults) from the deck. With `finish` unknown keys are errors.
void bind(Deck& deck, RunDeck& options);

// A model's configuration from the [model] table that files carry as an attribute.
ModelConfig parse_model_config(std::string const& toml, std::string const& name);

// Checks that span keys: paths that are needed, sizes that must fit each other. Error (bad_data) names the keys.
void validate(RunDeck const& options, Deck const& deck);

// Reads a deck with overrides ("table.key=value") and checks it whole. `model`, where given, is the configuration that
// model.from brings: the [model] table may repeat it, not contradict it.
struct LoadedDeck {
    Deck deck;
    RunDeck options;
};
LoadedDeck load_deck(std::string const& path, std::vector<std::string> const& overrides, ModelConfig const* model);

// Options of a command without a deck (generate, score): those of `base` (the effective deck that a checkpoint carries;
// "": the defaults) with overrides.
LoadedDeck deck_of_overrides(std::vector<std::string> const& overrides, std::string const& base = "");

}  // namespace selvage
