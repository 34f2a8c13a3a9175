// SPDX-License-Identifier: Apache-2.0
#include "sweep/corpora.h"

#include <vector>

#include "base/error.h"

namespace selvage {

Corpora open_corpora(io::IoThread& io, DataOptions const& options, std::int64_t vocabulary) {
    auto const open = [&](std::vector<std::string> const& paths) {
        return Corpus(io, paths, options.context, options.too_long, vocabulary);
    };
    Corpora corpora{open(options.train), open(options.heldout), std::nullopt, nullptr};
    if (!options.validation.empty()) corpora.validation.emplace(open(options.validation));
    for (Corpus const* other : {&corpora.heldout, corpora.validation ? &*corpora.validation : nullptr})
        if (other != nullptr && !(other->tokenizer() == corpora.train.tokenizer()))
            fail(ExitCode::bad_data,
                 "data.train and data.heldout or data.validation were prepared with different tokenizers; prepare them "
                 "again with one");
    corpora.tokenizer = make_tokenizer(corpora.train.tokenizer());
    return corpora;
}

void check_same_data(Corpus const& train, std::string const& digest, io::Path const& checkpoint) {
    if (digest.empty() || digest == train.digest()) return;
    fail(ExitCode::bad_data,
         "data.train is not what {} was trained on (another content under the same name); put the old files back, "
         "or use another --out, or --resume never to start again",
         checkpoint.string());
}

}  // namespace selvage
