// SPDX-License-Identifier: Apache-2.0
#include "deck/deck.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "support/test_main.h"

namespace selvage {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

enum class Kind { none, bash, rac };
std::vector<std::pair<std::string, Kind>> const kinds = {
    {"none", Kind::none}, {"bash", Kind::bash}, {"rac", Kind::rac}};

struct Options {
    bool flag = true;
    std::int64_t rounds = 4;
    double rate = 0.25;
    std::string schedule = "constant";
    std::string marker = "\n\nCorrection:\n";
    std::string from;
    std::vector<std::string> train;
    Kind unit = Kind::bash;
    std::vector<Kind> method = {Kind::none};

    void bind(Deck& deck) {
        deck.bind("run.rounds", rounds, "Rounds of the run.", at_least(1));
        deck.bind("run.flag", flag, "A switch.");
        deck.bind_path("model.from", from, "A model file.");
        deck.bind_paths("data.train", train, "Files.");
        deck.bind_choices("weave.method", method, kinds, "One per round.");
        deck.bind("weave.bash.rate", rate, "Rate.", between(0, 1));
        deck.bind("weave.bash.schedule", schedule, "Schedule.", {"constant", "linear"});
        deck.bind_choice("weave.bash.unit", unit, kinds, "Unit.");
        deck.bind("weave.rac.template", marker, "Marker.");
    }
};

Deck deck_of(std::string const& text) { return Deck::parse(text, "a.toml", "/decks"); }

Options options_of(Deck& deck) {
    Options options;
    options.bind(deck);
    deck.finish();
    return options;
}

Options options_of(std::string const& text) {
    Deck deck = deck_of(text);
    return options_of(deck);
}

template <class Action>
std::string message_of(Action action, ExitCode code = ExitCode::bad_data) {
    try {
        action();
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), code) << error.what();
        return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
}

std::string error_of(std::string const& text) {
    return message_of([&] { options_of(text); });
}

std::string set_error_of(std::string const& assignment) {
    return message_of([&] {
        Deck deck = deck_of("");
        deck.set(assignment);
        options_of(deck);
    });
}

TEST(Deck, DefaultsStayAndValuesArrive) {
    Options const defaults = options_of("");
    EXPECT_EQ(defaults.rounds, 4);
    EXPECT_EQ(defaults.method, std::vector{Kind::none});
    Options const given = options_of(
        "[run]\nrounds = 7\nflag = false\n[weave]\nmethod = ['bash', 'rac']\n"
        "bash = {rate = 1, unit = 'none', schedule = 'linear'}\n[weave.rac]\ntemplate = \"x\\ny\"\n");
    EXPECT_EQ(given.rounds, 7);
    EXPECT_FALSE(given.flag);
    EXPECT_EQ(given.rate, 1.0);
    EXPECT_EQ(given.unit, Kind::none);
    EXPECT_EQ(given.schedule, "linear");
    EXPECT_EQ(given.marker, "x\ny");
    EXPECT_EQ(given.method, (std::vector{Kind::bash, Kind::rac}));
    EXPECT_EQ(options_of("weave.method = 'rac'").method, std::vector{Kind::rac});
}

TEST(Deck, UnknownNamesGiveLineAndNearest) {
    EXPECT_EQ(error_of("[run]\nrounds = 1\nroundz = 2\n"),
              "a.toml:3: unknown key run.roundz; did you mean run.rounds?");
    EXPECT_EQ(error_of("\n[weave.bsh]\nrate = 1\n"), "a.toml:2: unknown table weave.bsh; did you mean weave.bash?");
    EXPECT_EQ(error_of("[run]\nrate = 1\n"), "a.toml:2: unknown key run.rate; did you mean weave.bash.rate?");
    EXPECT_THAT(error_of("[run]\nzzzzzzzz = 1\n"), HasSubstr("--effective"));
    EXPECT_EQ(error_of("rounds = 1\n"), "a.toml:1: unknown key rounds; did you mean run.rounds?");
    // The first in the file is reported, whatever its name.
    EXPECT_THAT(error_of("[run]\nzz = 1\naa = 2\n"), HasSubstr("a.toml:2: unknown key run.zz"));
    // A quoted name with a dot is no path.
    EXPECT_THAT(error_of("[weave]\n\"bash.rate\" = 0.5\n"), HasSubstr("unknown key weave.\"bash.rate\""));
    EXPECT_THAT(error_of("[weave]\nbash = 3\n"), AllOf(HasSubstr("a.toml:2"), HasSubstr("weave.bash is a table")));
    EXPECT_THAT(error_of("[[run]]\nrounds = 3\n"), HasSubstr("run is a table"));
}

TEST(Deck, WrongTypes) {
    EXPECT_EQ(error_of("[run]\nrounds = 'x'\n"), "a.toml:2: run.rounds is a string; give an integer");
    EXPECT_EQ(error_of("[run]\nrounds = 2.0\n"), "a.toml:2: run.rounds is a number with a fraction; give an integer");
    EXPECT_EQ(error_of("[run]\nrounds = [2]\n"), "a.toml:2: run.rounds is a list; give an integer");
    EXPECT_EQ(error_of("[run.rounds]\nx = 1\n"), "a.toml:1: run.rounds is a table; give an integer");
    EXPECT_EQ(error_of("[run]\nrounds = 2020-01-01\n"), "a.toml:2: run.rounds is a date or time; give an integer");
    EXPECT_EQ(error_of("run.flag = 1\n"), "a.toml:1: run.flag is an integer; give true or false");
    EXPECT_EQ(error_of("weave.bash.rate = true\n"), "a.toml:1: weave.bash.rate is true or false; give a number");
    EXPECT_EQ(error_of("weave.rac.template = 1\n"), "a.toml:1: weave.rac.template is an integer; give a string");
    EXPECT_EQ(error_of("model.from = ['a']\n"), "a.toml:1: model.from is a list; give a string");
    EXPECT_EQ(error_of("data.train = 1\n"), "a.toml:1: data.train is an integer; give a string, or a list of strings");
    EXPECT_EQ(error_of("data.train = ['a', 1]\n"), "a.toml:1: data.train holds an integer; give a list of strings");
    EXPECT_EQ(error_of("weave.method = []\n"),
              "a.toml:1: weave.method is an empty list; give at least one of \"none\", \"bash\", \"rac\"");
}

TEST(Deck, NumbersOutOfRange) {
    EXPECT_EQ(error_of("[run]\nrounds = 0\n"), "a.toml:2: run.rounds = 0 is out of range; it must be at least 1");
    EXPECT_EQ(error_of("weave.bash.rate = 1.5\n"),
              "a.toml:1: weave.bash.rate = 1.5 is out of range; it must be between 0 and 1");
    EXPECT_EQ(error_of("weave.bash.rate = -1\n"),
              "a.toml:1: weave.bash.rate = -1 is out of range; it must be between 0 and 1");
    EXPECT_EQ(error_of("weave.bash.rate = nan\n"), "a.toml:1: weave.bash.rate is not finite; give a number");
    EXPECT_EQ(error_of("weave.bash.rate = inf\n"), "a.toml:1: weave.bash.rate is not finite; give a number");
    EXPECT_THAT(error_of("[run]\nrounds = 9223372036854775808\n"), HasSubstr("a.toml:2: "));
    EXPECT_EQ(options_of("[run]\nrounds = 9223372036854775807\n").rounds, std::numeric_limits<std::int64_t>::max());
}

TEST(Deck, Choices) {
    EXPECT_EQ(error_of("weave.bash.unit = 'bsh'\n"),
              "a.toml:1: weave.bash.unit = \"bsh\" is not one of \"none\", \"bash\", \"rac\"; did you mean \"bash\"?");
    EXPECT_EQ(error_of("weave.bash.schedule = 'cubic'\n"),
              "a.toml:1: weave.bash.schedule = \"cubic\" is not one of \"constant\", \"linear\"");
    EXPECT_THAT(error_of("weave.method = ['none', 'back']\n"), HasSubstr("did you mean \"bash\"?"));
}

TEST(Deck, SyntaxErrorsAndDuplicates) {
    EXPECT_THAT(error_of("[run]\nrounds = \n"), AllOf(HasSubstr("a.toml:2: "), HasSubstr("this is not TOML")));
    EXPECT_THAT(error_of("[run]\nrounds = 1\nrounds = 2\n"), HasSubstr("a.toml:3: "));
    EXPECT_THAT(error_of("[run]\nx = \"\xff\xfe\"\n"), HasSubstr("a.toml:2: "));
}

TEST(Deck, OverridesWinAndTheLastCounts) {
    Deck deck = deck_of("[run]\nrounds = 1\n[weave.bash]\nrate = 0.5\n");
    deck.set("run.rounds=2");
    deck.set("weave.method=[\"none\",\"bash\"]");
    deck.set("run.rounds = 3");
    deck.set("weave.bash.schedule=\"linear\"");
    deck.set("weave.rac.template=\"a=b\"");
    EXPECT_EQ(deck.where("run.rounds"), "--set run.rounds = 3");
    EXPECT_EQ(deck.where("weave.bash.rate"), "a.toml:4");
    EXPECT_TRUE(deck.has("weave.method"));
    EXPECT_FALSE(deck.has("run.flag"));
    Options const options = options_of(deck);
    EXPECT_EQ(options.rounds, 3);
    EXPECT_EQ(options.method, (std::vector{Kind::none, Kind::bash}));
    EXPECT_EQ(options.schedule, "linear");
    EXPECT_EQ(options.marker, "a=b");
    EXPECT_EQ(options.rate, 0.5);
}

TEST(Deck, BadOverrides) {
    EXPECT_EQ(set_error_of("run.roundz=2"), "--set run.roundz=2: unknown key run.roundz; did you mean run.rounds?");
    EXPECT_EQ(set_error_of("run.rounds=0"),
              "--set run.rounds=0: run.rounds = 0 is out of range; it must be at least 1");
    EXPECT_EQ(set_error_of("run.rounds=1.5"),
              "--set run.rounds=1.5: run.rounds is a number with a fraction; give an integer");
    EXPECT_THAT(set_error_of("weave.bash.schedule=linear"),
                HasSubstr("a string with quotes around it: --set 'weave.bash.schedule=\"linear\"'"));
    for (char const* bad : {"run.rounds", "rounds=2", "=2", ".=2", "run.=2", "a b.c=2", ""})
        EXPECT_THAT(set_error_of(bad), HasSubstr("not of the form table.key=value")) << bad;
    EXPECT_THAT(set_error_of("run.rounds=1\nflag=2"), HasSubstr("more than one value"));
    EXPECT_THAT(set_error_of("weave.bash={rate=1}"), HasSubstr("one by one"));
    EXPECT_THAT(set_error_of("run.rounds="), HasSubstr("--set run.rounds="));
    EXPECT_THAT(set_error_of("weave.bash=3"), HasSubstr("unknown key weave.bash"));
}

TEST(Deck, PathsAreRelativeToTheDeckOrToTheWorkingDirectory) {
    Deck deck = deck_of("model.from = '../m.h5'\ndata.train = ['a.h5', '/b//c/../d.h5']\n");
    Options options = options_of(deck);
    EXPECT_EQ(options.from, "/m.h5");
    EXPECT_THAT(options.train, ElementsAre("/decks/a.h5", "/b/d.h5"));
    EXPECT_THAT(options_of("data.train = 'x.h5'").train, ElementsAre("/decks/x.h5"));
    EXPECT_EQ(options_of("model.from = ''").from, "");

    auto const here = std::filesystem::current_path();
    deck = deck_of("model.from = 'm.h5'\n");
    deck.set("model.from=\"sub/../n.h5\"");
    deck.set("data.train=\"t.h5\"");
    options = options_of(deck);
    EXPECT_EQ(options.from, (here / "n.h5").string());
    EXPECT_THAT(options.train, ElementsAre((here / "t.h5").string()));

    deck = Deck::parse("model.from = 'm.h5'\n", "a.toml", "");
    EXPECT_EQ(options_of(deck).from, (here / "m.h5").string());
}

TEST(Deck, ReadsFiles) {
    test::TemporaryFolder const folder;
    auto const path = folder.path() / "sub" / "a.toml";
    std::filesystem::create_directory(path.parent_path());
    std::ofstream(path) << "[model]\nfrom = 'm.h5'\n";
    Deck deck = Deck::read(path.string());
    EXPECT_EQ(options_of(deck).from, (path.parent_path() / "m.h5").string());
    EXPECT_EQ(deck.where("model.from"), path.string() + ":2");

    EXPECT_THAT(message_of([&] { Deck::read((folder.path() / "b.toml").string()); }, ExitCode::missing_input),
                HasSubstr("no deck"));
    EXPECT_THAT(message_of([&] { Deck::read(folder.path().string()); }), HasSubstr("is not a file"));
    std::ofstream(path) << "\x89HDF\r\n\x1a\n";
    EXPECT_THAT(message_of([&] { Deck::read(path.string()); }), HasSubstr("is an HDF5 file"));
    std::ofstream(path) << std::string((1 << 20) + 1, '\n');
    EXPECT_THAT(message_of([&] { Deck::read(path.string()); }), HasSubstr("larger than 1 MiB"));
}

TEST(Deck, EffectiveReadsBackToTheSame) {
    Deck deck = deck_of(
        "[run]\nflag = false\n[weave]\nmethod = 'rac'\n[weave.bash]\nrate = 0.1\n"
        "[data]\ntrain = ['a \"b\".h5']\n");
    options_of(deck);
    std::string const text = deck.effective(false);
    EXPECT_EQ(
        text,
        "[run]\nrounds = 4\nflag = false\n\n[model]\nfrom = \"\"\n\n[data]\ntrain = [\"/decks/a \\\"b\\\".h5\"]\n\n"
        "[weave]\nmethod = [\"rac\"]\n\n[weave.bash]\nrate = 0.1\nschedule = \"constant\"\nunit = \"bash\"\n\n"
        "[weave.rac]\ntemplate = \"\\n\\nCorrection:\\n\"\n");
    Deck again = Deck::parse(text, "b.toml", "/elsewhere");
    options_of(again);
    EXPECT_EQ(again.effective(false), text);
    Deck documented = Deck::parse(deck.effective(true), "c.toml", "/elsewhere");
    options_of(documented);
    EXPECT_EQ(documented.effective(false), text);
    EXPECT_THAT(deck.effective(true), HasSubstr("# Rate. (between 0 and 1)\nrate = 0.1\n"));
    EXPECT_THAT(deck.effective(true), HasSubstr("# Schedule. (\"constant\", \"linear\")\n"));
}

TEST(Deck, NumbersAndStringsSurviveExactly) {
    for (double const value : {0.0, 1.0, -1.0, 0.1, 3e-4, 1e-8, 1e22, 1e300, 5e-324, 0.1 + 0.2, 123456789.0}) {
        Deck deck = deck_of("");
        double written = value;
        deck.bind("a.b", written, "");
        Deck again = deck_of(deck.effective(false));
        double read = -7;
        again.bind("a.b", read, "");
        EXPECT_EQ(read, value) << deck.effective(false);
        EXPECT_TRUE(again.has("a.b"));
    }
    std::string every;
    for (int c = 1; c < 128; ++c) every += static_cast<char>(c);
    for (std::string const& value :
         {every, std::string("\0x", 2), std::string("\xc3\xa9 \xe2\x82\xac"), std::string()}) {
        Deck deck = deck_of("");
        std::string written = value;
        deck.bind("a.b", written, "");
        Deck again = deck_of(deck.effective(false));
        std::string read = "default";
        again.bind("a.b", read, "");
        EXPECT_EQ(read, value);
    }
    Deck deck = deck_of("");
    double one = 1;
    deck.bind("a.b", one, "");
    EXPECT_EQ(deck.effective(false), "[a]\nb = 1.0\n");
}

TEST(Deck, DifferingKeys) {
    std::string const a = "[run]\nrounds = 1\nseed = 2\n[weave.bash]\nrate = 0.5\nlist = ['a', 'b']\n";
    EXPECT_THAT(differing_keys(a, a), ElementsAre());
    EXPECT_THAT(differing_keys(a, "[weave.bash]\nrate = 0.25\nlist = ['a', 'b']\n[run]\nrounds = 1\nextra = 1\n"),
                ElementsAre("run.extra", "run.seed", "weave.bash.rate"));
    EXPECT_THAT(differing_keys(a, "[run]\nrounds = 1\nseed = 2\n[weave.bash]\nrate = 0.5\nlist = ['b', 'a']\n"),
                ElementsAre("weave.bash.list"));
}

TEST(Deck, BindingAKeyTwiceIsABug) {
    Deck deck = deck_of("");
    bool value = false;
    deck.bind("a.b", value, "");
    EXPECT_THAT(message_of([&] { deck.bind("a.b", value, ""); }, ExitCode::internal), HasSubstr("bound twice"));
}

}  // namespace
}  // namespace selvage
