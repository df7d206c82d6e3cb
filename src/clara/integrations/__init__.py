"""Clara within other frameworks, one module each, over `clara.Clara` and `clara.Library`.

langchain   retriever, document compressor, embeddings, chat model, vector store
llamaindex  retriever, node postprocessor, query engine
haystack    document store, retriever, answerer, embedders
flashrag    retriever, prompt template, generator, refiner
bergen      retriever, generator, context processor

Importing one of the first three needs the extra of its name. The last two need no framework: their classes
have the methods that its code calls. Beside them:

exchange    a framework's documents as Clara's, and stored passages as a framework's documents
conditions  a framework's filters as the expressions of `clara.Filter`
relevance   how well given texts fit a question
extras      the error for a framework that is missing
"""
