// SPDX-License-Identifier: Apache-2.0
#include "app/command_line.h"

#include <boost/program_options.hpp>

#include <cstdio>

#include "app/commands/commands.h"
#include "base/error.h"
#include "base/names.h"

namespace selvage {
namespace {

namespace po = boost::program_options;

po::options_description describe(CommandSpec const& spec) {
    po::options_description description("Options");
    description.add_options()("help,h", "print this");
    for (OptionSpec const& option : spec.options) {
        if (option.value.empty())
            description.add_options()(option.name.c_str(), option.help.c_str());
        else
            description.add_options()(option.name.c_str(),
                                      po::value<std::vector<std::string>>()->value_name(option.value),
                                      option.help.c_str());
    }
    return description;
}

std::string nearest_option(CommandSpec const& spec, std::string const& name) {
    std::vector<std::string> names = {"--help"};
    for (OptionSpec const& option : spec.options) names.push_back("--" + option.name);
    return nearest_name(name, names);
}

std::string did_you_mean(std::string const& nearest) {
    return nearest.empty() ? "" : fmt::format(" (did you mean {}?)", nearest);
}

}  // namespace

Arguments::Arguments(CommandSpec const& spec, std::vector<std::string> const& words) : command_(spec.name) {
    po::options_description all = describe(spec);
    all.add_options()("positional", po::value<std::vector<std::string>>());
    po::positional_options_description places;
    places.add("positional", -1);
    int const style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    try {
        po::variables_map map;
        po::store(po::command_line_parser(words).options(all).positional(places).style(style).run(), map);
        for (auto const& [name, value] : map) {
            auto const* const list = boost::any_cast<std::vector<std::string>>(&value.value());
            if (name == "positional")
                positional_ = *list;
            else
                values_[name] = list != nullptr ? *list : std::vector<std::string>{};
        }
    } catch (po::unknown_option const& error) {
        fail(ExitCode::usage, "{}: there is no option {}{}; see selvage {} --help", spec.name, error.get_option_name(),
             did_you_mean(nearest_option(spec, error.get_option_name())), spec.name);
    } catch (po::error const& error) {
        fail(ExitCode::usage, "{}: {}; see selvage {} --help", spec.name, error.what(), spec.name);
    }
    if (help()) return;
    for (OptionSpec const& option : spec.options)
        if (!option.repeated && values_.contains(option.name) && values_[option.name].size() > 1)
            fail(ExitCode::usage, "{}: --{} stands twice; give it once", spec.name, option.name);
    auto const count = static_cast<int>(positional_.size());
    if (count < spec.least || count > spec.most)
        fail(ExitCode::usage, "{} takes {}, but {} were given; see selvage {} --help", spec.name,
             spec.positional.empty() ? "no arguments" : spec.positional, count, spec.name);
}

std::string Arguments::value(std::string const& name, std::string const& fallback) const {
    auto const found = values_.find(name);
    return found == values_.end() || found->second.empty() ? fallback : found->second.back();
}

std::string Arguments::required(std::string const& name) const {
    if (!values_.contains(name))
        fail(ExitCode::usage, "{} needs --{}; see selvage {} --help", command_, name, command_);
    return value(name, "");
}

std::vector<std::string> Arguments::all(std::string const& name) const {
    auto const found = values_.find(name);
    return found == values_.end() ? std::vector<std::string>{} : found->second;
}

OptionSpec set_option() {
    return {"set", "table.key=value", "override a deck key, the value as TOML; the last one for a key wins", true};
}

std::string help_of(CommandSpec const& spec) {
    std::string text = fmt::format("selvage {} {} [options]\n{}\n\n", spec.name, spec.positional, spec.summary);
    std::vector<std::pair<std::string, std::string>> lines;
    for (OptionSpec const& option : spec.options)
        lines.emplace_back(fmt::format("--{}{}{}", option.name, option.value.empty() ? "" : " ", option.value),
                           option.help + (option.repeated ? " (may be repeated)" : ""));
    lines.emplace_back("--help", "print this");
    for (auto const& [left, right] : lines) text += fmt::format("  {:<24} {}\n", left, right);
    return text;
}

int dispatch(MpiSession& mpi, std::vector<std::string> const& words) {
    std::vector<Command> const commands = all_commands();
    std::string const name = words.empty() ? "--help" : words[0];
    bool const speaks = mpi.world()->rank() == 0;
    if (name == "--help" || name == "-h" || name == "help") {
        std::string text =
            "Selvage: fine-tuning of language models on their own generated tokens.\n\nselvage COMMAND [options]\n";
        for (Command const& command : commands)
            text += fmt::format("  {:<10} {}\n", command.spec.name, command.spec.summary);
        text +=
            "  --version  version, commit, libraries, instruction set\nselvage COMMAND --help tells more about each.\n";
        if (speaks) std::fputs(text.c_str(), stdout);
        return words.empty() ? static_cast<int>(ExitCode::usage) : 0;
    }
    if (name == "--version") {
        if (speaks) std::fputs(version_text().c_str(), stdout);
        return 0;
    }
    std::vector<std::string> names = {"--version", "--help"};
    for (Command const& command : commands) {
        names.push_back(command.spec.name);
        if (command.spec.name != name) continue;
        Arguments const arguments(command.spec, {words.begin() + 1, words.end()});
        if (arguments.help()) {
            if (speaks) std::fputs(help_of(command.spec).c_str(), stdout);
            return 0;
        }
        return command.run(mpi, arguments);
    }
    fail(ExitCode::usage, "there is no command '{}'{}; see selvage --help", name,
         did_you_mean(nearest_name(name, names)));
}

}  // namespace selvage
