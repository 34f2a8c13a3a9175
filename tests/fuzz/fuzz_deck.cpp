// SPDX-License-Identifier: Apache-2.0
// Deck text, and the text of --set behind a line "---".
#include "deck/deck.h"
#include "fuzz/driver.h"

namespace {

using selvage::Deck;

enum class Kind { none, bash, rac };

void bind_all(Deck& deck) {
    std::int64_t integer = 1;
    double number = 0.5;
    bool flag = false;
    std::string text = "text";
    std::string choice = "constant";
    std::string path;
    std::vector<std::string> paths;
    Kind kind = Kind::none;
    std::vector<Kind> list = {Kind::none};
    std::vector<std::pair<std::string, Kind>> const names = {
        {"none", Kind::none}, {"bash", Kind::bash}, {"rac", Kind::rac}};
    deck.bind("run.rounds", integer, "", selvage::at_least(1));
    deck.bind("run.seed", integer, "");
    deck.bind("run.flag", flag, "");
    deck.bind_path("model.from", path, "");
    deck.bind_paths("data.train", paths, "");
    deck.bind_choices("weave.method", list, names, "");
    deck.bind("weave.bash.rate", number, "", selvage::between(0, 1));
    deck.bind("weave.bash.schedule", choice, "", {"constant", "linear"});
    deck.bind_choice("weave.bash.unit", kind, names, "");
    deck.bind("weave.rac.template", text, "");
    deck.finish();
}

void try_deck(std::string const& input) {
    std::string const mark = "\n---\n";
    std::size_t const split = input.find(mark);
    Deck deck = Deck::parse(input.substr(0, split), "deck", "/folder");
    for (std::size_t at = split; at != std::string::npos;) {
        at += at == split ? mark.size() : 1;
        std::size_t const end = input.find('\n', at);
        deck.set(input.substr(at, end - at));
        at = end;
    }
    bind_all(deck);
    // What was accepted comes back from its own dump.
    for (bool const documented : {false, true}) {
        Deck again = Deck::parse(deck.effective(documented), "again", "/elsewhere");
        bind_all(again);
        selvage::fuzz::require(again.effective(false) == deck.effective(false),
                               "the effective deck does not read back");
    }
    selvage::fuzz::require(selvage::differing_keys(deck.effective(false), deck.effective(true)).empty(),
                           "documentation differs");
}

}  // namespace

int main(int argc, char** argv) {
    selvage::fuzz::Corpus const corpus{
        {"", "[run]\nrounds = 4\nseed = 7 # the seed\nflag = true\n",
         "[weave]\nmethod = [\"none\", \"bash\", 'rac']\nbash = {rate = 0.25, schedule = \"linear\", unit = 'bash'}\n"
         "[weave.rac]\ntemplate = \"\\n\\nCorrection:\\n\"\n",
         "[data]\ntrain = [\n  'a.h5',\n  \"../b.h5\",\n]\n[model]\nfrom = '/m.h5'\n",
         "run.rounds = 0x10\nrun.seed = -1_000\nweave.bash.rate = 1e-3\nweave.rac.template = '''a\nb'''\n",
         "[run]\nrounds = 1\n---\nrun.rounds=2\nweave.method=[\"none\",\"bash\"]\nweave.bash.rate=0.5"},
        {"[run]",
         "[[run]]",
         "[weave.bash]",
         "rounds = ",
         "rate = ",
         "\"",
         "'''",
         "\"\"\"",
         "\\u0000",
         "\\U0010ffff",
         "inf",
         "-nan",
         "1979-05-27T07:32:00Z",
         "{",
         "}",
         "[",
         "]",
         ",",
         "=",
         ".",
         "#",
         "\n",
         "\r\n",
         "9223372036854775807",
         "99999999999999999999",
         "1e400",
         "0b11",
         "\xff",
         "\xed\xa0\x80",
         "\n---\n",
         "[[[[[[[[[[[[[[[[[["},
    };
    return selvage::fuzz::run(argc, argv, "deck", corpus, [] { return try_deck; });
}
